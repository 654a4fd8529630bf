"""The table of what one threshold, set before anybody knows what covers a face, does under every condition."""

from __future__ import annotations

from html import escape

from oaml_core.evaluation.report.charts import rate_label
from oaml_core.evaluation.report.tables import table
from oaml_core.evaluation.statistics.bootstrap import Interval
from oaml_core.evaluation.statistics.one_threshold import OneThreshold, SetOn
from oaml_core.evaluation.verdict.results import SetResult

SET_ON_TEXT = {"clean": "set on the clean pairs", "pooled": "set on the pairs of all conditions"}


def one_threshold_table(result: SetResult, names: tuple[str, ...]) -> str:
    """Return TAR and real FAR by condition and score, at the lowest false accept rate that the pairs measure.

    Args:
        result: a judged set.
        names: scores to show.
    """
    measured = next(iter(result.conditions.values())).scores[names[0]].at_one_threshold
    if not measured:
        return '<p class="note">The impostor pairs are too few for any of the rates asked for.</p>'
    rate = min(one.far for one in measured)
    head = "<th>score</th><th>TAR</th><th>real FAR</th>"
    clean = _rows(result, names, "clean", rate)
    pooled = table(head, _rows(result, names, "pooled", rate))
    return (
        f'<p class="note">Asked for: FAR {rate_label(rate)}, {SET_ON_TEXT["clean"]}. A real FAR is marked where its '
        "whole interval lies above the rate asked for.</p>"
        f"{table(head, clean)}<details><summary>The threshold {SET_ON_TEXT['pooled']}</summary>{pooled}</details>"
    )


def found_at(points: list[OneThreshold], set_on: SetOn, rate: float) -> OneThreshold | None:
    """Return the result at a threshold set on `set_on` for `rate`; None if it was not measurable."""
    return next((one for one in points if one.set_on == set_on and one.far == rate), None)


def _rows(result: SetResult, names: tuple[str, ...], set_on: SetOn, rate: float) -> list[str]:
    rows = []
    for name, condition in result.conditions.items():
        rows.append(f'<tr class="group"><th colspan="3">{escape(name)}</th></tr>')
        for score in names:
            one = found_at(condition.scores[score].at_one_threshold, set_on, rate)
            if one is not None:
                cells = f"<td>{_share(one.tar, 1)}</td><td>{_share(one.real_far, 2)}{_mark(one)}</td>"
                rows.append(f'<tr><th class="score"><i class="key {score}"></i>{score}</th>{cells}</tr>')
    return rows


def _mark(one: OneThreshold) -> str:
    return " <b>above</b>" if one.real_far.low > one.far else ""


def _share(found: Interval, digits: int) -> str:
    """Return a share in % with its interval."""
    value, low, high = (f"{100 * share:.{digits}f}" for share in found)
    return f"{value} % <small>({low} … {high})</small>"
