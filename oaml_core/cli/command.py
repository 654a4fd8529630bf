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

    count: int | None = None
    """Number of shards; None: nothing is shared out."""
    one: str | None = None
    """The only shard to make, such as `0/7`; None: all are made or merged."""
    only_merge: bool = False
    """Make no shard that is missing."""


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
    """Return what `sharing_options` were given.

    Raises:
        ConfigError: several of them were given, or they name no shard.
    """
    from oaml_core.evaluation.scoring.shard import EvaluationShard

    if sum(value is not None for value in (options.shard, options.shards, options.merge)) > 1:
        raise ConfigError(
            "Give one of --shards (make shards and merge them), --shard (make one) and --merge (merge what was made)."
        )
    if options.shard is not None:
        return Sharing(EvaluationShard.parse(options.shard).of, options.shard)
    count = options.shards if options.merge is None else options.merge
    return Sharing(None if count is None else EvaluationShard(0, count).of, only_merge=options.merge is not None)
