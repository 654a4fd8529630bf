"""The promotion gate: may a challenger take the champion's place?

In every gated set and condition the challenger's combined score must not be inferior: it may lose `non_inferior_by`
points of accuracy. Where the interval of the difference lies wholly above that margin, non-inferiority is shown; where
it lies wholly below, inferiority is; in between the pairs are too few to tell, and `undecided` says what holds. With
`promote.one_threshold_far` the challenger must also hold that false accept rate under cover, at the one threshold that
its clean pairs set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from oaml_core.config import PromoteConfig
from oaml_core.evaluation.statistics.bootstrap import in_points
from oaml_core.evaluation.verdict.comparison import Difference, ModelComparison

State = Literal["not inferior", "inferior", "undecided"]


@dataclass(frozen=True)
class Gated:
    """One set and condition at the gate."""

    difference: Difference
    state: State
    passes: bool


@dataclass(frozen=True)
class GateDecision:
    """Decision of the gate: True if the model passes, the reason, and the differences that were gated."""

    passes: bool
    reason: str
    gated: list[Gated]


def decide(comparison: ModelComparison, config: PromoteConfig) -> GateDecision:
    """Judge a challenger by its comparison with the champion.

    Args:
        comparison: of the combined scores, on everything that the champion was measured on.
        config: margin, what is gated, and what holds where the pairs are too few.
    """
    cells = [d for d in comparison.differences if d.score == "combined" and _is_gated(d.set, d.condition, config)]
    unknown = [str(one) for one in comparison.incomparable if _is_gated(one.set, one.condition, config)]
    unknown += _never_measured(cells, config)
    if unknown:
        return GateDecision(False, f"it cannot be compared with the champion: {'; '.join(unknown)}", [])
    leaking = _leaking(cells, config)
    if leaking:
        return GateDecision(False, leaking, [_gated(difference, config) for difference in cells])
    gated = [_gated(difference, config) for difference in cells]
    failing = [one for one in gated if not one.passes]
    if failing:
        return GateDecision(False, _refusal(failing, config), gated)
    return GateDecision(True, _approval(gated, config), gated)


def _gated(difference: Difference, config: PromoteConfig) -> Gated:
    margin = -config.non_inferior_by / 100
    if difference.low >= margin:
        return Gated(difference, "not inferior", True)
    if difference.high < margin:
        return Gated(difference, "inferior", False)
    # Differences are multiples of 1 / pairs: the margin itself is allowed whatever its rounding.
    passes = {"accept": True, "refuse": False, "difference": difference.difference >= margin - 1e-12}
    return Gated(difference, "undecided", passes[config.undecided])


def _leaking(cells: list[Difference], config: PromoteConfig) -> str | None:
    """Return why the clean pairs' threshold does not hold under cover, or None if it holds or is not gated."""
    rate = config.one_threshold_far
    if rate is None:
        return None
    points = [(cell, next((p for p in cell.real_far if np.isclose(p.far, rate)), None)) for cell in cells]
    unknown = [f"{cell.set}/{cell.condition}" for cell, point in points if point is None]
    if unknown:
        return (
            f"its real FAR is not known at promote.one_threshold_far {rate:g} in {', '.join(unknown[:3])}: name the "
            "rate in evaluate.far too, and measure it on at least 1 / rate impostor pairs"
        )
    most = config.most_real_far * rate
    above = [(cell, point) for cell, point in points if point is not None and point.low > most]
    if not above:
        return None
    worst = sorted(above, key=lambda one: -one[1].real_far)[:3]
    listed = "; ".join(
        f"{cell.set}/{cell.condition} {point.real_far:.2g} ({point.low:.2g} … {point.high:.2g})"
        for cell, point in worst
    )
    return (
        f"at the threshold that clean pairs set for FAR {rate:g} more than {most:.2g} of the impostors pass: {listed}"
    )


def _is_gated(name: str, condition: str | None, config: PromoteConfig) -> bool:
    return (not config.sets or name in config.sets) and (
        condition is None or not config.conditions or condition in config.conditions
    )


def _never_measured(cells: list[Difference], config: PromoteConfig) -> list[str]:
    """Return names in `config` that stand for nothing that was compared."""
    sets, conditions = {cell.set for cell in cells}, {cell.condition for cell in cells}
    named = [("sets", name) for name in config.sets if name not in sets]
    named += [("conditions", name) for name in config.conditions if name not in conditions]
    lost = [f"promote.{key} names {name!r}, which not both were measured on" for key, name in named]
    return lost or ([] if cells else ["nothing was measured with both models"])


def _refusal(failing: list[Gated], config: PromoteConfig) -> str:
    worst = sorted(failing, key=lambda one: one.difference.difference)
    listed = "; ".join(_describe(one) for one in worst[:3])
    more = f"; and {len(failing) - 3} more" if len(failing) > 3 else ""
    hint = ""
    if any(one.state == "undecided" for one in failing):
        hint = ". More pairs would tell; promote.undecided and promote.non_inferior_by say what is let pass"
    return f"it loses more than {config.non_inferior_by:g} points: {listed}{more}{hint}"


def _approval(gated: list[Gated], config: PromoteConfig) -> str:
    undecided = sum(one.state == "undecided" for one in gated)
    better = sum(one.difference.verdict == "better" for one in gated)
    said = [f"it loses no more than {config.non_inferior_by:g} points in any of {len(gated)} gated conditions"]
    said += [f"better in {better}"] if better else []
    said += [f"too few pairs to be sure in {undecided}"] if undecided else []
    return ", ".join(said)


def _describe(one: Gated) -> str:
    d = one.difference
    points = in_points(d.difference, d.low, d.high)
    sure = "" if one.state == "inferior" else ", which may be chance"
    return f"{d.set}/{d.condition} {points[0]} ({points[1]} … {points[2]}){sure}"
