"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from oaml_core.amounts import amount
from oaml_core.evaluation.report.charts import rate_label
from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.statistics.bootstrap import Interval, in_points
from oaml_core.evaluation.statistics.roc import TarAtFar
from oaml_core.evaluation.verdict.own_metrics import own_metrics
from oaml_core.evaluation.verdict.results import ConditionResult, SetResult

OPEN_CONDITIONS = 3
"""Conditions that long tables and figures show without folding out."""


def accuracy_table(result: SetResult) -> str:
    head = "".join(f"<th>{score}</th>" for score in result.score_names)
    is_combined = result.rule is not None
    rows = []
    for name, condition in result.conditions.items():
        best = max(found.accuracy for found in condition.scores.values()) if is_combined else None
        cells = "".join(
            f"<td{' class=best' if found.accuracy == best else ''}>{100 * found.accuracy:.2f} "
            f"<small>± {100 * found.accuracy_std:.2f}</small></td>"
            for found in condition.scores.values()
        )
        published = condition.scores["global"].accuracy_published
        last = "" if published is None else f"{100 * published:.2f}"
        gain = f"<td>{_gain(condition.scores['combined'].against_global)}</td>" if is_combined else ""
        rows.append(f"<tr><th>{escape(name)}</th>{cells}{gain}<td>{last}</td></tr>")
    gains = "<th>combined − global<br>(95 % interval)</th>" if is_combined else ""
    return table(f"<th>condition</th>{head}{gains}<th>global,<br>published protocol</th>", rows)


def _gain(interval: Interval | None) -> str:
    if interval is None:
        return ""
    points = in_points(*interval)
    return f"{points[0]} <small>({points[1]} … {points[2]})</small>"


def tar_table(result: SetResult) -> str:
    points = next(iter(result.conditions.values())).scores["global"].tar_at_far
    measured = [point for point in points if point.measurable]
    lost = _not_measurable([point for point in points if not point.measurable])
    if not measured:
        return lost
    head = "<th>score</th>" + "".join(f"<th>FAR {rate_label(point.far)}</th>" for point in measured)
    conditions = list(result.conditions.values())
    shown = table(head, (row for condition in conditions[:OPEN_CONDITIONS] for row in _tar_rows(condition)))
    rest = conditions[OPEN_CONDITIONS:]
    if rest:
        more = table(head, (row for condition in rest for row in _tar_rows(condition)))
        shown += f"<details><summary>{amount(len(rest), 'more condition')}</summary>{more}</details>"
    return shown + lost


def _tar_rows(condition: ConditionResult) -> Iterable[str]:
    gains = condition.scores["combined"].tar_against_global if "combined" in condition.scores else []
    measurable = sum(point.measurable for point in condition.scores["global"].tar_at_far)
    yield f'<tr class="group"><th colspan="{1 + measurable}">{escape(condition.name)}</th></tr>'
    for score, found in condition.scores.items():
        measured = [point.tar for point in found.tar_at_far if point.tar is not None]
        cells = "".join(map(_tar, measured, found.tar_intervals))
        yield f'<tr><th class="score"><i class="key {score}"></i>{score}</th>{cells}</tr>'
    if not gains:
        return
    cells = "".join(f"<td>{_gain(gain)}</td>" for gain in gains)
    yield f'<tr class="gain"><th>combined − global</th>{cells}</tr>'


def _tar(tar: float, interval: Interval) -> str:
    return f"<td>{100 * tar:.2f} <small>({100 * interval.low:.1f} … {100 * interval.high:.1f})</small></td>"


def _not_measurable(points: list[TarAtFar]) -> str:
    if not points:
        return ""
    rates = ", ".join(rate_label(point.far) for point in points)
    return (
        f'<p class="note">Not measurable: FAR {rates}. These impostor pairs measure rates down to '
        f"1 / {round(1 / points[0].smallest_far):,} = {points[0].smallest_far:.2g}.</p>"
    )


def visibility_table(result: SetResult) -> str:
    rows = [
        f"<tr><th>{escape(name)}</th><td>{100 * condition.covered_share:.1f} %</td>"
        f"<td>{_iou(condition)}</td>"
        f"<td>{condition.visibility_mae:.3f}</td><td>{condition.calibration_error:.3f}</td></tr>"
        for name, condition in result.conditions.items()
    ]
    head = "<th>condition</th><th>covered</th><th>IoU</th><th>MAE</th><th>calibration</th>"
    return table(head, rows)


def own_table(result: SetResult) -> str:
    """Return a table of the registered metrics, a row per condition and score; an empty text if there are none."""
    rows = []
    names: dict[str, None] = {}
    for condition in result.conditions.values():
        for score, found in condition.scores.items():
            values = own_metrics(found.values, result.issame)
            names |= dict.fromkeys(values)
            cells = "".join(f"<td>{'–' if value is None else f'{value:.4g}'}</td>" for value in values.values())
            rows.append(f"<tr><th>{escape(condition.name)}</th><th>{score}</th>{cells}</tr>")
    if not names:
        return ""
    head = "<th>condition</th><th>score</th>" + "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<h3>Registered metrics</h3>{table(head, rows)}"


def _iou(condition: ConditionResult) -> str:
    if condition.visibility_iou is None or condition.name == CLEAN.name:
        return "–"
    return f"{100 * condition.visibility_iou:.1f} %"


def table(head: str, rows: Iterable[str]) -> str:
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>{body}</table></div>'
