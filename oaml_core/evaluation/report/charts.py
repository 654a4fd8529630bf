"""The report's charts as inline SVG: coloured by CSS classes, so that one drawing serves light and dark.

Every chart carries a `<title>` that says in words what it shows, for those who do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from oaml_core.evaluation.statistics.roc import Roc, thinned
from oaml_core.evaluation.verdict.metrics_json import histogram
from oaml_core.evaluation.verdict.results import ConditionResult, ScoreResult

WIDTH, HEIGHT = 360, 250
DRAWN_POINTS = 80
"""Most points of a curve; more cannot be told apart at this size."""
LEFT, RIGHT, TOP, BOTTOM = 40, 10, 10, 34
"""Margins of the plotting area within the view box."""


def accuracy_dots(conditions: Mapping[str, ConditionResult], scores: Sequence[str]) -> str:
    """Return one row per condition, one dot per score: accuracy in %, with its interval over identities.

    Positions are percentages of the width, so that text keeps its size on a phone.
    """
    ends = [_interval(c.scores[s]) for c in conditions.values() for s in scores]
    low = max(0.0, math.floor(min(end[0] for end in ends) * 20) / 20)
    high = min(1.0, math.ceil(max(end[1] for end in ends) * 20) / 20)
    span = max(high - low, 0.05)

    def position(accuracy: float) -> float:
        return 2 + 96 * (min(max(accuracy, low), high) - low) / span

    ticks = round_ticks(low, low + span, 5)
    grid = "".join(f'<line class="grid" x1="{position(t):.2f}%" x2="{position(t):.2f}%" y2="100%"/>' for t in ticks)
    rows = []
    for name, condition in conditions.items():
        height = 14 * len(scores) + 10
        marks = "".join(_dot(score, condition.scores[score], position, 12 + 14 * i) for i, score in enumerate(scores))
        words = ", ".join(f"{score} {100 * condition.scores[score].accuracy:.2f} %" for score in scores)
        rows.append(
            f'<div class="dots-row"><div class="dots-label">{escape(name)}'
            f"<small>{100 * condition.covered_share:.0f} % covered</small></div>"
            f'<svg role="img" width="100%" height="{height}"><title>{escape(name)}: {words}</title>'
            f"{grid}{marks}</svg></div>"
        )
    labels = "".join(f'<text x="{position(t):.2f}%" y="12" text-anchor="middle">{100 * t:g} %</text>' for t in ticks)
    axis = f'<div class="dots-row"><div></div><svg aria-hidden="true" width="100%" height="18">{labels}</svg></div>'
    return f'<div class="dots">{"".join(rows)}{axis}</div>'


def roc_chart(condition: ConditionResult, scores: Sequence[str]) -> str:
    """Return TAR against FAR on a log axis that ends at the smallest FAR the impostor pairs can measure."""
    curves = {score: thinned(condition.scores[score].roc, DRAWN_POINTS) for score in scores}
    impostors = next(iter(curves.values())).impostors
    decades = max(1.0, math.log10(impostors))

    def x(far: float) -> float:
        share = 1 + math.log10(max(far, 1 / impostors)) / decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    lines = "".join(
        f'<polyline class="line {score}" points="{points_of(_staircase(curve, x))}"/>'
        for score, curve in curves.items()
    )
    rates = [10.0**-k for k in range(int(decades) + 1)]
    labels = "".join(
        f'<line class="grid" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{x(rate):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{rate_label(rate)}</text>'
        for rate in rates
    )
    words = "; ".join(
        f"{score}: " + ", ".join(f"TAR {point} at FAR {point.far:g}" for point in result.tar_at_far if point.measurable)
        for score, result in ((score, condition.scores[score]) for score in scores)
    )
    data = ";".join(
        f"{score}:" + " ".join(f"{far:.3g},{tar:.4g}" for far, tar in zip(curve.far, curve.tar, strict=True))
        for score, curve in curves.items()
    )
    return (
        f'<figure class="chart"><figcaption>{escape(condition.name)}</figcaption>'
        f'<svg role="img" class="roc" tabindex="0" viewBox="0 0 {WIDTH} {HEIGHT}" data-impostors="{impostors}" '
        f'data-curves="{data}"><title>ROC, {escape(condition.name)}. {words}</title>'
        f"{_percent_axis()}{labels}{lines}"
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">false accept rate, down to '
        f"1 / {impostors:,}</text></svg></figure>"
    )


def det_chart(condition: ConditionResult, scores: Sequence[str]) -> str:
    """FRR against FAR, both on log axes that end where one pair of each kind is the smallest step."""
    curves = {score: thinned(condition.scores[score].roc, DRAWN_POINTS) for score in scores}
    first = next(iter(curves.values()))
    far_decades, frr_decades = (max(1.0, math.log10(count)) for count in (first.impostors, first.genuine))

    def x(far: float) -> float:
        share = 1 + math.log10(max(far, 1 / first.impostors)) / far_decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(frr: float) -> float:
        return TOP - math.log10(max(frr, 1 / first.genuine)) / frr_decades * (HEIGHT - TOP - BOTTOM)

    lines = "".join(
        f'<polyline class="line {score}" points="{points_of(_det_steps(curve, x, y))}"/>'
        for score, curve in curves.items()
    )
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(rate):.1f}" y2="{y(rate):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(rate) + 4:.1f}" text-anchor="end">{100 * rate:g}</text>'
        for rate in (10.0**-k for k in range(int(frr_decades) + 1))
    ) + "".join(
        f'<line class="grid" x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text x="{x(rate):.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{rate_label(rate)}</text>'
        for rate in (10.0**-k for k in range(int(far_decades) + 1))
    )
    words = ", ".join(f"{score} EER {100 * condition.scores[score].eer:.2f} %" for score in scores)
    return (
        f'<figure class="chart"><figcaption>{escape(condition.name)}</figcaption>'
        f'<svg role="img" class="det" viewBox="0 0 {WIDTH} {HEIGHT}"><title>DET, {escape(condition.name)}: {words}'
        f"</title>{grid}{lines}"
        f'<text class="axis" x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">false accept rate; upwards: false '
        "reject rate in %</text></svg></figure>"
    )


def histogram_chart(score: str, result: ScoreResult, issame: NDArray[np.bool_]) -> str:
    """Return counts of genuine and impostor scores, with the threshold of the ten folds (their mean)."""
    counts = histogram(result.values, issame)
    edges = np.array(counts["edges"])
    top = max(*counts["genuine"], *counts["impostor"], 1)
    height = 130
    floor = height - BOTTOM + 10
    span = edges[-1] - edges[0]

    def x(value: float) -> float:
        result: float = RIGHT + (value - edges[0]) / span * (WIDTH - 2 * RIGHT)
        return result

    def area(kind: str) -> str:
        corners: list[tuple[float, float]] = [(x(edges[0]), floor)]
        for left, right, count in zip(edges[:-1], edges[1:], counts[kind], strict=True):
            y = floor - count / top * (floor - TOP)
            corners += [(x(left), y), (x(right), y)]
        return f'<polygon class="area {kind}" points="{points_of([*corners, (x(edges[-1]), floor)])}"/>'

    threshold = x(min(max(result.threshold, edges[0]), edges[-1]))
    labels = "".join(
        f'<text x="{x(tick):.1f}" y="{floor + 13}" text-anchor="middle">{f"{tick:g}".replace("-", "−")}</text>'
        for tick in round_ticks(float(edges[0]), float(edges[-1]), 4)
    )
    return (
        f'<figure class="chart"><figcaption><i class="key {score}"></i>{score} score'
        f"<small>EER {100 * result.eer:.2f} %</small></figcaption>"
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}"><title>Histogram of the {score} score; equal error rate '
        f"{100 * result.eer:.2f} %, threshold {result.threshold:.3g}</title>{area('impostor')}{area('genuine')}"
        f'<line class="base" x1="{RIGHT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>'
        f'<line class="threshold" x1="{threshold:.1f}" x2="{threshold:.1f}" y1="{TOP - 6}" y2="{floor}"/>'
        f"{labels}</svg></figure>"
    )


def _dot(score: str, result: ScoreResult, position: Callable[[float], float], y: int) -> str:
    middle = position(result.accuracy)
    low, high = map(position, _interval(result))
    return (
        f'<line class="whisker {score}" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>'
        f'<circle class="dot {score}" cx="{middle:.2f}%" cy="{y}" r="5"/>'
    )


def _interval(result: ScoreResult) -> tuple[float, float]:
    found = result.accuracy_interval
    return (result.accuracy, result.accuracy) if found is None else (found.low, found.high)


def _percent_axis() -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>'
        for percent in range(0, 101, 20)
        for y in [HEIGHT - BOTTOM - percent / 100 * (HEIGHT - TOP - BOTTOM)]
    )


def _staircase(curve: Roc, x: Callable[[float], float]) -> Iterable[tuple[float, float]]:
    """Measured points joined by horizontal steps: between two of them the lower TAR is what was measured."""
    height = HEIGHT - TOP - BOTTOM
    # The axis starts where one impostor is accepted.
    start = int(np.searchsorted(curve.far, (1 + 1e-9) / curve.impostors, side="right")) - 1
    previous = HEIGHT - BOTTOM - float(curve.tar[start]) * height
    for far, tar in zip(curve.far[start:].tolist(), curve.tar[start:].tolist(), strict=True):
        y = HEIGHT - BOTTOM - tar * height
        yield x(far), previous
        yield x(far), y
        previous = y


def _det_steps(curve: Roc, x: Callable[[float], float], y: Callable[[float], float]) -> Iterable[tuple[float, float]]:
    """As `_staircase`: FRR falls where FAR has grown."""
    start = int(np.searchsorted(curve.far, (1 + 1e-9) / curve.impostors, side="right")) - 1
    previous = 1.0 - float(curve.tar[start])
    for far, tar in zip(curve.far[start:].tolist(), curve.tar[start:].tolist(), strict=True):
        yield x(far), y(previous)
        yield x(far), y(1.0 - tar)
        previous = 1.0 - tar


def points_of(corners: Iterable[tuple[float, float]]) -> str:
    """Return the `points` attribute of a polyline or polygon."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)


def rate_label(rate: float) -> str:
    """Format a false accept rate: 0.1, 0.01, 1e-3 …"""
    return f"{rate:g}" if rate >= 0.01 else f"1e-{round(-math.log10(rate))}"


def round_ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers in [low, high]."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(step * k, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]
