"""What a sub-command is, and the options that several share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from oaml_core.config import Config

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
