"""What a sub-command is, and the options that several share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from oaml_core.config import Config
from oaml_core.errors import ConfigError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


class Command(NamedTuple):
    """One sub-command of `oaml`: its purpose, its options and the function that runs it."""

    purpose: str
    run: Callable[[Config, Any], int]
    options: Callable[[ArgumentParser], None] | None = None
    respelled: Callable[[list[str]], list[str]] | None = None
    """What the user typed, in the words that the parser knows."""


def dataset_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dataset",
        type=str | None,
        default=None,
        help="data set in the store; default: prepare it, or that of the checkpoint",
    )


def model_options(parser: ArgumentParser) -> None:
    dataset_option(parser)
    parser.add_argument("--checkpoint", required=True, help="checkpoint: file or address in the store")


@dataclass(frozen=True)
class Sharing:
    """The way in which measuring is shared out."""

    one: str | None = None
    """The only shard to make, such as `0/7`."""
    of: int | None = None
    """Number of shards that are merged; None: nothing is shared out, or nothing is merged."""
    only_merge: bool = False
    """Make no shard that is missing."""

    @property
    def count(self) -> int | None:
        """Number of shards; None: nothing is shared out."""
        from oaml_core.evaluation.scoring.shard import EvaluationShard

        return self.of if self.one is None else EvaluationShard.parse(self.one).of

    @property
    def is_asked_for(self) -> bool:
        """True if anything is shared out."""
        return self != Sharing()


def sharing_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--shards", type=int | None, default=None, help="measure in so many parts, which an interrupted run keeps"
    )
    parser.add_argument(
        "--shard", type=str | None, default=None, help="make one part alone, for --merge: 0/7 to 6/7 of seven"
    )
    parser.add_argument(
        "--merge", type=int | None, default=None, help="merge so many parts that --shard made, on any machines"
    )


def chosen_sharing(options: Any) -> Sharing:
    """Return what `sharing_options` were given; raises ConfigError for several of them."""
    if sum(value is not None for value in (options.shard, options.shards, options.merge)) > 1:
        raise ConfigError(
            "Give one of --shards (make shards and merge them), --shard (make one) and --merge (merge what was made)."
        )
    if options.merge is not None:
        return Sharing(of=options.merge, only_merge=True)
    return Sharing(options.shard, options.shards)
