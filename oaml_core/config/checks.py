"""Checks that several sections of the configuration share."""

from __future__ import annotations

from collections.abc import Mapping

from oaml_core.errors import ConfigError


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
