"""Configuration of the promotion gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class PromoteConfig:
    """Rules by which a model may replace the one in production."""

    non_inferior_by: float = 0.2
    """Points of 10-fold accuracy in %, ≥ 0, that the combined score may lose in any gated set and condition."""
    sets: tuple[str, ...] = ()
    """Verification sets that are gated; empty: all that the model in production was measured on."""
    conditions: tuple[str, ...] = ()
    """Conditions that are gated, as the report names them; empty: all."""
    undecided: Literal["difference", "refuse", "accept"] = "difference"
    """What holds where the pairs are too few to show whether more than non_inferior_by is lost: the measured
    `difference` decides, the model is `refuse`d, or it is `accept`ed."""
    one_threshold_far: float | None = None
    """False accept rate, in (0, 1), of the threshold set on clean pairs, whose real FAR is gated under every gated
    condition, for the combined score; a rate of evaluate.far. None: the real FAR is not gated."""
    most_real_far: float = 1.25
    """Times one_threshold_far, ≥ 1, that the real FAR may reach: the model is refused where the whole interval over
    people lies above."""


def check_promote(promote: PromoteConfig) -> None:
    """Refuse tolerances and rates that cannot be.

    Raises:
        ConfigError: names the key to change.
    """
    if promote.non_inferior_by < 0:
        raise ConfigError(
            f"promote.non_inferior_by is {promote.non_inferior_by}; it is what accuracy may fall by, in points: "
            "0 or more."
        )
    if promote.one_threshold_far is not None and not 0.0 < promote.one_threshold_far < 1.0:
        raise ConfigError(
            f"promote.one_threshold_far is {promote.one_threshold_far}; false accept rates lie in (0, 1). Give one of "
            "evaluate.far, such as 1e-3, or null."
        )
    if promote.most_real_far < 1:
        raise ConfigError(
            f"promote.most_real_far is {promote.most_real_far}; it multiplies promote.one_threshold_far: 1 or more."
        )
