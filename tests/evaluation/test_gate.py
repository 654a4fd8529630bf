"""The promotion gate: what passes, what does not, and why."""

from __future__ import annotations

import pytest

from oaml_core.config import PromoteConfig
from oaml_core.evaluation.verdict.comparison import Comparison, Difference, Incomparable
from oaml_core.evaluation.verdict.gate import decide


def difference(points: float, half_width: float, name: str = "lfw", condition: str = "clean", score: str = "combined"):
    change, half = points / 100, half_width / 100
    verdict = "not distinguishable"
    interval = change, change - half, change + half
    return Difference(name, condition, score, 0.9, 0.9 + change, *interval, 1, 1, 1.0, verdict, [])


def gate(*cells, incomparable=(), **options):
    return decide(Comparison("champion", list(cells), list(incomparable)), PromoteConfig(**options))


@pytest.mark.parametrize(
    ("points", "half_width", "state"),
    [(0.0, 0.1, "not inferior"), (1.0, 0.9, "not inferior"), (-1.0, 0.5, "inferior"), (-0.1, 1.0, "undecided")],
)
def test_the_interval_decides_where_it_can(points, half_width, state):
    (one,) = gate(difference(points, half_width)).gated
    assert one.state == state


@pytest.mark.parametrize(
    ("undecided", "points", "passes"),
    [
        ("difference", -0.2, True),
        ("difference", -0.3, False),
        ("accept", -0.3, True),
        ("refuse", 0.3, False),
    ],
)
def test_where_pairs_are_too_few_the_configuration_decides(undecided, points, passes):
    decision = gate(difference(points, 2.0), undecided=undecided)
    assert decision.passes is passes
    if not passes:
        assert "which may be chance" in decision.reason
        assert "promote.undecided" in decision.reason


def test_one_inferior_condition_is_enough_to_refuse_and_is_named_with_its_interval():
    decision = gate(difference(2.0, 0.5), difference(-1.5, 0.5, condition="veil"), undecided="accept")
    assert not decision.passes
    assert "lfw/veil −1.50 (−2.00 … −1.00)" in decision.reason
    assert gate(difference(2.0, 0.5), difference(-1.5, 0.5, condition="veil"), conditions=("clean",)).passes
    assert gate(difference(2.0, 0.5), difference(-1.5, 0.5, name="cplfw"), sets=("lfw",)).passes
    assert gate(difference(-1.5, 0.5), non_inferior_by=3.0).passes


def test_only_the_combined_score_is_gated():
    assert gate(difference(0.5, 0.1), difference(-5.0, 0.1, score="global")).passes


def test_what_cannot_be_compared_is_refused_unless_it_is_not_gated():
    lost = Incomparable("lfw", "veil", "the challenger was not measured under it")
    decision = gate(difference(1.0, 0.1), incomparable=[lost])
    assert not decision.passes
    assert "lfw/veil: the challenger was not measured under it" in decision.reason
    assert gate(difference(1.0, 0.1), incomparable=[lost], conditions=("clean",)).passes
    assert "nothing was measured" in gate().reason
    assert "'cplfw'" in gate(difference(1.0, 0.1), sets=("lfw", "cplfw")).reason
