"""Read a command line that names no recipe and no key of a section without building the parser of all keys.

That parser has an option per key of the configuration, which takes longer than to compare two faces.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from oaml_core.config import Config, check_leaves, is_flat
from oaml_core.settings import argument_parser


def quick_config(
    prog: str, options: Callable[[Any], None] | None, arguments: Sequence[str]
) -> tuple[Config, Any] | None:
    """Return what `parse_config` returns, or None where only the whole parser can tell.

    Args:
        prog: name of the command.
        options: adds the command's own options to a parser.
        arguments: the command line without the command's name.

    Returns:
        The configuration and the namespace of all options; None: a recipe, a key of a section or an option by an
        older name is given, or something is wrong: the whole parser has better messages.

    Raises:
        ConfigError: a value cannot work.
    """
    if any(_needs_all_keys(word) for word in arguments):
        return None
    parser = argument_parser()(prog=prog, exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(_plain_keys())
    if options is not None:
        options(parser)
    try:
        values = parser.instantiate(parser.parse_args(list(arguments)))
    except (argparse.ArgumentError, TypeError):
        return None
    plain = [field.name for field in dataclasses.fields(_plain_keys())]
    check_leaves({f"--{name}": value for name, value in vars(values).items() if name not in plain})
    return Config(**{name: values[name] for name in plain}), values


def _needs_all_keys(word: str) -> bool:
    option = word.partition("=")[0]
    return option in ("--config", "--print-config", "--print_config") or (
        word.startswith("--") and ("." in option or "-" in option[2:] or is_flat(word))
    )


@functools.cache
def _plain_keys() -> type:
    """Return a dataclass of the keys of `Config` that stand in no section, with their types and defaults."""
    types = get_type_hints(Config)
    plain = [field for field in dataclasses.fields(Config) if not dataclasses.is_dataclass(types[field.name])]
    given: list[tuple[str, Any, Any]] = [
        (field.name, types[field.name], dataclasses.field(default=field.default)) for field in plain
    ]
    return dataclasses.make_dataclass("PlainKeys", given)
