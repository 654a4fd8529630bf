"""Charts of what covering costs: accuracy and TAR against the covered share, calibration of the maps, differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape

import numpy as np

from oaml_core.evaluation.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    points_of,
    rate_label,
    round_ticks,
)
from oaml_core.evaluation.scoring.conditions import BOTH, CLEAN
from oaml_core.evaluation.verdict.comparison import Difference
from oaml_core.evaluation.verdict.results import ConditionResult, ScoreResult, SetResult

Point = tuple[float, float, float, float]
"""Covered share, figure, and the ends of its interval."""
Figure = Callable[[ScoreResult], tuple[float, float, float] | None]
BANDS = ("global", "combined")
"""Scores whose intervals are drawn along their line."""
DODGE = 7
"""Between the dots of two scores for one occluder, so that none hides another."""
LABELS = 26
"""Height that the names of occluders take above the plot."""


def sweep_charts(result: SetResult, scores: Sequence[str]) -> str:
    """Accuracy and TAR of every score against the covered share, for one covered image and for both."""
    charts = []
    for both, words in ((False, "second image covered"), (True, "both images covered")):
        chosen = [c for name, c in result.conditions.items() if name == CLEAN.name or name.endswith(BOTH) == both]
        if len(chosen) < 2:
            continue
        charts.append(_sweep(f"Accuracy, {words}", chosen, scores, _accuracy))
        place = _sweep_rate(chosen[0])
        if place is not None:
            rate = chosen[0].scores["global"].tar_at_far[place].far
            charts.append(_sweep(f"TAR at FAR {rate_label(rate)}, {words}", chosen, scores, _tar(place)))
    return "".join(charts)


def _accuracy(result: ScoreResult) -> tuple[float, float, float] | None:
    interval = result.accuracy_interval
    return None if interval is None else (result.accuracy, interval.low, interval.high)


def _sweep_rate(condition: ConditionResult) -> int | None:
    """Place in `tar_at_far` of the rate that is drawn: 1e-3, or the smallest larger one that can be measured."""
    points = condition.scores["global"].tar_at_far
    usable = [k for k, point in enumerate(points) if point.measurable and point.far >= 1e-3 * (1 - 1e-9)]
    return min(usable, key=lambda k: points[k].far, default=None)


def _tar(place: int) -> Figure:
    def figure(result: ScoreResult) -> tuple[float, float, float] | None:
        point = result.tar_at_far[place]
        # Intervals are kept for the measurable rates alone.
        number = sum(p.measurable for p in result.tar_at_far[:place])
        if point.tar is None or number >= len(result.tar_intervals):
            return None
        interval = result.tar_intervals[number]
        return point.tar, interval.low, interval.high

    return figure


def _sweep(title: str, conditions: Sequence[ConditionResult], scores: Sequence[str], figure: Figure) -> str:
    steps = [c for c in conditions if c.name == CLEAN.name or c.name.startswith("blocks-")]
    occluders = [c for c in conditions if c not in steps]
    lines = {score: _series(steps, score, figure) for score in scores}
    dots = {score: _series(occluders, score, figure) for score in scores}
    found = [point for series in (lines, dots) for points in series.values() for point in points]
    right = max(0.1, max(point[0] for point in found) * 1.06)
    low = max(0.0, np.floor(min(point[2] for point in found) * 20) / 20)
    x, y = _scale(0, right, LEFT, WIDTH - RIGHT), _scale(low, 1, HEIGHT - BOTTOM, TOP + LABELS)
    grid = _percent_grid(low, x, y, right)
    names = "".join(_occluder_name(c, k, x, figure, scores, y) for k, c in enumerate(_by_share(occluders)))
    # Four bands would hide one another: the two that matter most have theirs.
    marks = "".join(_band(score, lines[score], x, y) for score in BANDS if score in scores)
    marks += "".join(_line(score, lines[score], x, y) for score in reversed(scores))
    for place, score in enumerate(scores):
        aside = DODGE * (place - (len(scores) - 1) / 2)
        marks += _dots(score, dots[score], lambda share, aside=aside: x(share) + aside, y)  # type: ignore[misc]
    words = "; ".join(
        f"{c.name} ({100 * c.covered_share:.0f} % covered): "
        + ", ".join(f"{score} {100 * at[0]:.1f} %" for score in scores if (at := figure(c.scores[score])) is not None)
        for c in _by_share(conditions)
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg role="img" class="sweep" viewBox="0 0 {WIDTH} {HEIGHT}"><title>{escape(title)}. {escape(words)}</title>'
        f"{grid}{names}{marks}"
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">covered share of the image</text>'
        "</svg></figure>"
    )


def _by_share(conditions: Iterable[ConditionResult]) -> list[ConditionResult]:
    return sorted(conditions, key=lambda c: c.covered_share)


def _series(conditions: Iterable[ConditionResult], score: str, figure: Figure) -> list[Point]:
    found = ((c.covered_share, figure(c.scores[score])) for c in _by_share(conditions))
    return [(share, *at) for share, at in found if at is not None]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _percent_grid(low: float, x: Callable[[float], float], y: Callable[[float], float], right: float) -> str:
    rows = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:g}</text>'
        for tick in round_ticks(low, 1, 5)
    )
    columns = "".join(
        f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{100 * tick:g} %</text>'
        for tick in round_ticks(0, right, 6)
    )
    return rows + columns


def _occluder_name(
    condition: ConditionResult,
    number: int,
    x: Callable[[float], float],
    figure: Figure,
    scores: Sequence[str],
    y: Callable[[float], float],
) -> str:
    """Name of an occluder above its dots; neighbours take two rows in turn."""
    at = x(condition.covered_share)
    top = max(found[0] for score in scores if (found := figure(condition.scores[score])) is not None)
    row = TOP + 8 + 12 * (number % 2)
    anchor = "end" if at > WIDTH - 60 else "middle"
    return (
        f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{row + 3}" y2="{y(top):.1f}"/>'
        f'<text x="{at:.1f}" y="{row}" text-anchor="{anchor}">{escape(condition.name.removesuffix(BOTH))}</text>'
    )


def _band(score: str, points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    if len(points) < 2:
        return ""
    outline = [(x(p[0]), y(p[2])) for p in points] + [(x(p[0]), y(p[3])) for p in reversed(points)]
    return f'<polygon class="band {score}" points="{points_of(outline)}"/>'


def _line(score: str, points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    if len(points) < 2:
        return ""
    return f'<polyline class="line {score}" points="{points_of((x(p[0]), y(p[1])) for p in points)}"/>'


def _dots(score: str, points: Sequence[Point], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return "".join(
        f'<line class="whisker {score}" x1="{x(share):.1f}" x2="{x(share):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        f'<circle class="dot {score}" cx="{x(share):.1f}" cy="{y(value):.1f}" r="4"/>'
        for share, value, low, high in points
    )


def reliability_chart(result: SetResult) -> str:
    """Draw true against predicted visibility of the places of all drawn images; a calibrated map lies on the
    diagonal."""
    covered = [c for name, c in result.conditions.items() if name != CLEAN.name]
    if not covered:
        return ""
    places, predicted, true = np.sum([c.pair_scores.reliability.sum(0) for c in covered], axis=0)
    used = places > 0
    mean, truth = predicted[used] / places[used], true[used] / places[used]
    error = float(np.abs(predicted - true).sum() / places.sum())
    side = HEIGHT - TOP - BOTTOM
    x, y = _scale(0, 1, LEFT, LEFT + side), _scale(0, 1, HEIGHT - BOTTOM, TOP)
    sizes = 3 + 9 * np.sqrt(places[used] / places.sum())
    circles = "".join(
        f'<circle class="dot combined" cx="{x(a):.1f}" cy="{y(b):.1f}" r="{r:.1f}"/>'
        for a, b, r in zip(mean, truth, sizes, strict=True)
    )
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{LEFT + side}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:g}</text>'
        f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{100 * tick:g}</text>'
        for tick in (0, 0.25, 0.5, 0.75, 1)
    )
    words = ", ".join(f"{100 * a:.0f} → {100 * b:.0f} %" for a, b in zip(mean, truth, strict=True))
    return (
        f'<figure class="chart reliability"><figcaption>Visible, in %: true against predicted'
        f"<small>calibration error {100 * error:.1f} points</small></figcaption>"
        f'<svg role="img" viewBox="0 0 {LEFT + side + RIGHT} {HEIGHT}"><title>True against predicted visibility, over '
        f"all covered conditions: {words}</title>{grid}"
        f'<line class="threshold" x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(1):.1f}" y2="{y(1):.1f}"/>{circles}'
        f'<text class="axis" x="{LEFT + side}" y="{HEIGHT - 4}" text-anchor="end">predicted</text></svg></figure>'
    )


def difference_bars(differences: Sequence[Difference]) -> str:
    """Return one row per set and condition: challenger less champion in points, with its interval and the verdict."""
    ends = np.array([[100 * d.low, 100 * d.high] for d in differences])
    reach = max(0.5, float(np.abs(ends).max()) * 1.05)
    rows = "".join(_difference_row(d, reach) for d in differences)
    ticks = round_ticks(-reach, reach, 6)
    labels = "".join(
        f'<text x="{_across(tick, reach):.2f}%" y="12" text-anchor="middle">{_signed(tick)}</text>' for tick in ticks
    )
    axis = f'<div class="dots-row"><div></div><svg aria-hidden="true" width="100%" height="18">{labels}</svg></div>'
    return f'<div class="dots differences">{rows}{axis}</div>'


def _signed(points: float) -> str:
    return f"{points:+g}".replace("-", "−") if points else "0"


def _across(points: float, reach: float) -> float:
    return 2 + 96 * (points + reach) / (2 * reach)


def _difference_row(d: Difference, reach: float) -> str:
    at, low, high = (_across(100 * value, reach) for value in (d.difference, d.low, d.high))
    kind = {"better": "good", "worse": "bad"}.get(d.verdict, "undecided")
    points = _signed(round(100 * d.difference, 2))
    words = f"{d.set}, {d.condition}: {points} points, {100 * d.low:.2f} to {100 * d.high:.2f}; {d.verdict}"
    return (
        f'<div class="dots-row"><div class="dots-label">{escape(d.set)} · {escape(d.condition)}'
        f"<small>{100 * d.champion:.2f} → {100 * d.challenger:.2f} · p {d.p_value:.2g} · {d.verdict}</small></div>"
        f'<svg role="img" width="100%" height="34"><title>{escape(words)}</title>'
        f'<line class="base" x1="50%" x2="50%" y2="100%"/>'
        f'<line class="whisker {kind}" x1="{low:.2f}%" x2="{high:.2f}%" y1="17" y2="17"/>'
        f'<circle class="dot {kind}" cx="{at:.2f}%" cy="17" r="5"/></svg></div>'
    )
