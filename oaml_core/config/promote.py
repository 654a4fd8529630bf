"""Configuration of the promotion gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class PromoteConfig:
    """When a model may take the place of the one in production."""

    non_inferior_by: float = 0.2
    """Points of 10-fold accuracy in %, ≥ 0, that the combined score may lose in any gated set and condition."""
    sets: tuple[str, ...] = ()
    """Verification sets that are gated; empty: all that the model in production was measured on."""
    conditions: tuple[str, ...] = ()
    """Conditions that are gated, as the report names them; empty: all."""
    undecided: Literal["difference", "refuse", "accept"] = "difference"
    """What holds where the pairs are too few to show whether more than non_inferior_by is lost: the measured
    `difference` decides, the model is `refuse`d, or it is `accept`ed."""


def check_promote(promote: PromoteConfig) -> None:
    """Refuse a negative tolerance.

    Raises:
        ConfigError: names the key to change.
    """
    if promote.non_inferior_by < 0:
        raise ConfigError(
            f"promote.non_inferior_by is {promote.non_inferior_by}; it is what accuracy may fall by, in points: "
            "0 or more."
        )
