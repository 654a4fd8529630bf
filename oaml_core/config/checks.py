"""Checks that several sections of the configuration share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import get_args, get_type_hints

from oaml_core.errors import ConfigError
from oaml_core.folder_entries import forges_lines, shown

LONGEST_NAME = 200
"""Bytes of a run's name; file systems take 255, and a fingerprint is added."""


def check_shares(values: Mapping[str, float]) -> None:
    """Refuse shares and probabilities outside [0, 1].

    Args:
        values: value by configuration key.

    Raises:
        ConfigError: a value is out of range.
    """
    for key, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ConfigError(f"{key} is {value}; it is a share and must lie in [0, 1].")


def check_positive(values: Mapping[str, float]) -> None:
    """Refuse numbers that are not greater than 0.

    Args:
        values: number by configuration key.

    Raises:
        ConfigError: a number is 0 or less.
    """
    for key, number in values.items():
        if not number > 0:
            raise ConfigError(f"{key} is {number}; it must be greater than 0.")


def check_leaves(value: object, key: str = "") -> None:
    """Refuse NaN, infinity, text with control characters, and null for what must have a value, anywhere in a tree of
    dataclasses, mappings and sequences.

    No path, key of a store or name of a run can have a NUL, and a line break in it would forge lines of logs.

    Args:
        value: the tree, or a part of it.
        key: dotted name of the part.

    Raises:
        ConfigError: names the key.
    """
    parts: list[tuple[object, object]] = []
    if is_dataclass(value):
        parts = [(field.name, getattr(value, field.name)) for field in fields(value)]
        kind: type = type(value)
        for name, part in parts:
            if part is None and name not in _may_be_none(kind):
                where = f"{key}.{name}" if key else name
                raise ConfigError(f"{where} is null; it must have a value. Leave the key out for the default.")
    elif isinstance(value, Mapping):
        parts = list(value.items())
    elif isinstance(value, (tuple, list)):
        parts = list(enumerate(value))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{key} is {value}; it must be a finite number.")
    elif isinstance(value, str) and forges_lines(value.encode(errors="replace").decode()):
        raise ConfigError(f"{key} is '{shown(value)}'; it must not have a line break or another control character.")
    for name, part in parts:
        check_leaves(part, f"{key}.{name}" if key else str(name))


def check_name(name: str) -> None:
    """Refuse names of runs that no folder below the store's can have.

    Raises:
        ConfigError: it is empty, too long, or leads out of the folder.
    """
    if {"", ".", ".."} & {*name.split("/")} or len(name.encode()) > LONGEST_NAME:
        raise ConfigError(
            f"name is '{shown(name)[:LONGEST_NAME]}'; it becomes a folder: 1 to {LONGEST_NAME} bytes, without '..' and "
            "without a slash at its ends."
        )


@cache
def _may_be_none(cls: type) -> frozenset[str]:
    """Return the fields of a dataclass that take null."""
    return frozenset(name for name, kind in get_type_hints(cls).items() if type(None) in get_args(kind))
