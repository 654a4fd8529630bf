"""The benchmark's figures as charts: inline SVG with the report's colours, for light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from oaml_core.evaluation.covered.benchmark import ModelFigures
from oaml_core.evaluation.report.charts import round_ticks
from oaml_core.evaluation.statistics.bootstrap import Interval

SCORES = ("global", "local", "combined", "calibrated", "cohort", "refitted")
"""Scores that are drawn, each in the colour of its name in `report.css`."""
STEP = 14
"""Height in pixels of one score's dot and interval."""


class ChartRow(NamedTuple):
    """One condition: its name, a word below it, and the interval of each score."""

    name: str
    note: str
    marks: Sequence[tuple[str, Interval]]


class Axis(NamedTuple):
    """The scale along the rows."""

    unit: str
    """Behind the numbers of ticks and titles."""
    factor: float
    """Factor from a share to the unit."""
    base: float | None
    """Share at which a line is drawn: no difference, or the rate asked for; None: there is none."""


def charts(figures: ModelFigures, shares: dict[str, float], far: float) -> Iterator[tuple[str, str]]:
    """Yield titles and charts: TAR, its difference from the global score, and real FAR at one threshold.

    Args:
        figures: of a model on a set.
        shares: of the image that is covered, by condition.
        far: false accept rate that was asked for.
    """
    notes = {name: f"{100 * shares[name]:.0f} % covered" if name in shares else "" for name in figures.figures}
    drawn = {
        condition: {score: one for score, one in scores.items() if score in SCORES}
        for condition, scores in figures.figures.items()
    }
    for title, figure, axis in (
        (f"TAR at FAR {far:g}, own thresholds", "tar", Axis(" %", 100, None)),
        ("TAR less that of the global score, in points", "against_global", Axis("", 100, 0.0)),
        ("Real FAR at one threshold, set on uncovered pairs", "real_far", Axis(" ‰", 1000, far)),
    ):
        rows = [
            ChartRow(name, notes[name], [(s, found) for s, one in scores.items() if (found := getattr(one, figure))])
            for name, scores in drawn.items()
        ]
        if any(row.marks for row in rows):
            yield title, _dots(rows, axis)


def legend(figures: ModelFigures) -> str:
    """Return the drawn scores with their colours."""
    scores = dict.fromkeys(score for found in figures.figures.values() for score in found if score in SCORES)
    keys = "".join(f'<span><i class="key {score}"></i>{escape(score)}</span> ' for score in scores)
    return f'<p class="legend">{keys}</p>'


def _dots(rows: Sequence[ChartRow], axis: Axis) -> str:
    """Return one row per condition, one dot with its interval per score.

    Positions are percentages of the width, so that text keeps its size on a phone.
    """
    ends = [end for row in rows for _, interval in row.marks for end in interval]
    ends += [] if axis.base is None else [axis.base]
    low, high = min(ends), max(ends)
    span = (high - low) or 1.0

    def position(value: float) -> float:
        return 2 + 96 * (value - low) / span

    ticks = round_ticks(low * axis.factor, high * axis.factor, 5)
    places = [(position(tick / axis.factor), f"{tick:g}".replace("-", "−") + axis.unit) for tick in ticks]
    grid = "".join(f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y2="100%"/>' for x, _ in places)
    if axis.base is not None:
        x = position(axis.base)
        grid += f'<line class="threshold" x1="{x:.2f}%" x2="{x:.2f}%" y2="100%"/>'
    body = "".join(_row(row, grid, position, axis) for row in rows if row.marks)
    labels = "".join(f'<text x="{x:.2f}%" y="12" text-anchor="middle">{text}</text>' for x, text in places)
    scale = f'<div class="dots-row"><div></div><svg aria-hidden="true" width="100%" height="18">{labels}</svg></div>'
    return f'<div class="dots">{body}{scale}</div>'


def _row(row: ChartRow, grid: str, position: Callable[[float], float], axis: Axis) -> str:
    marks, words = [], []
    for number, (score, (value, low, high)) in enumerate(row.marks):
        y = 12 + STEP * number
        marks.append(
            f'<line class="whisker {score}" x1="{position(low):.2f}%" x2="{position(high):.2f}%" y1="{y}" y2="{y}"/>'
            f'<circle class="dot {score}" cx="{position(value):.2f}%" cy="{y}" r="5"/>'
        )
        words.append(f"{score} {axis.factor * value:.2f}{axis.unit}")
    return (
        f'<div class="dots-row"><div class="dots-label">{escape(row.name)}<small>{row.note}</small></div>'
        f'<svg role="img" width="100%" height="{STEP * len(row.marks) + 10}"><title>{escape(row.name)}: '
        f"{', '.join(words)}</title>{grid}{''.join(marks)}</svg></div>"
    )
