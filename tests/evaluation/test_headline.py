"""The report's headline claims a difference only where its interval shows one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from oaml_core.evaluation.report.finding import headline_tiles, lead
from oaml_core.evaluation.statistics.bootstrap import Interval


def evaluation(*gains: Interval | None) -> Any:
    def condition(combined: float, gain: Interval | None) -> Any:
        score = {"eer": 0.1, "tar_against_global": []}
        both = SimpleNamespace(accuracy=combined, against_global=gain, **score)
        alone = SimpleNamespace(accuracy=0.8, against_global=None, **score)
        return SimpleNamespace(scores={"global": alone, "local": alone, "combined": both}, visibility_iou=0.5)

    conditions = {"clean": condition(0.9, None)}
    for number, gain in enumerate(gains):
        conditions[f"cover {number}"] = condition(0.8 + (0.0 if gain is None else gain.difference), gain)
    return SimpleNamespace(sets={"own": SimpleNamespace(conditions=conditions)})


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ([Interval(0.02, 0.01, 0.03), Interval(0.04, 0.02, 0.06)], "The difference is +3.00 points (95 % interval"),
        ([Interval(-0.02, -0.03, -0.01)], "The difference is −2.00 points"),
        ([Interval(0.006, -0.01, 0.02)], "A difference is not shown: +0.60 points"),
        ([Interval(0.02, 0.01, 0.03), None], "without an interval: it is not shown"),
    ],
)
def test_a_gain_has_an_interval_or_is_not_shown(gains: list[Interval | None], told: str) -> None:
    assert told in lead(evaluation(*gains))
    (tile,) = [one for one in headline_tiles(evaluation(*gains)).split("</div>") if "points against" in one]
    claims = told.startswith("The difference")
    assert ("not shown" in tile) is not claims
    assert ('class="tile good"' in tile or 'class="tile bad"' in tile) is claims
