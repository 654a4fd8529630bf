"""The promotion gate: what passes, what does not, and why."""

from __future__ import annotations

import pytest

from oaml_core.config import PromoteConfig
from oaml_core.evaluation.verdict.comparison import Difference, Incomparable, ModelComparison, RealFar
from oaml_core.evaluation.verdict.gate import decide


def difference(
    points: float, half_width: float, name: str = "lfw", condition: str = "clean", score: str = "combined", real_far=()
):
    change, half = points / 100, half_width / 100
    verdict = "better" if change > half else "not distinguishable"
    interval = change, change - half, change + half
    return Difference(name, condition, score, 0.9, 0.9 + change, *interval, 1, 1, 1.0, verdict, [], list(real_far))


def gate(*cells, incomparable=(), **options):
    return decide(ModelComparison("champion", list(cells), list(incomparable)), PromoteConfig(**options))


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


def test_the_margin_itself_is_allowed_in_points_of_a_hundred():
    assert gate(difference(-1.0, 0.0), non_inferior_by=1.0).passes
    (one,) = gate(difference(-1.001, 0.0), non_inferior_by=1.0).gated
    assert (one.state, one.passes) == ("inferior", False)


def test_an_interval_that_ends_at_the_margin_shows_what_lies_within():
    (reaching,) = gate(difference(-50.0, 0.0), non_inferior_by=50.0).gated
    assert reaching.state == "not inferior"
    (touching,) = gate(difference(-75.0, 25.0), non_inferior_by=50.0).gated
    assert (touching.state, touching.passes) == ("undecided", False)


def test_the_margin_itself_is_allowed_whatever_its_rounding():
    points = -0.1 - 0.2
    assert points < -0.3
    assert gate(difference(points, 2.0), non_inferior_by=0.3).passes
    assert not gate(difference(-0.3001, 2.0), non_inferior_by=0.3).passes


@pytest.mark.parametrize(("failing", "more"), [(3, None), (4, "; and 1 more"), (6, "; and 3 more")])
def test_a_refusal_names_the_worst_three_and_counts_the_rest(failing, more):
    cells = [difference(-2.0 - place, 0.1, condition=f"veil-{place}") for place in range(failing)]
    reason = gate(*cells).reason
    named = [cell.condition for cell in cells if cell.condition in reason]
    assert named == [f"veil-{place}" for place in range(failing - 3, failing)]
    assert ("more" in reason.replace("more than", "")) == (more is not None)
    assert more is None or reason.endswith(more)
    assert "promote.undecided" not in reason  # nothing is undecided


def test_an_approval_counts_what_is_better_and_what_is_not_sure():
    sure = gate(difference(0.0, 0.1))
    assert (
        sure.reason == f"it loses no more than {PromoteConfig().non_inferior_by:g} points in any of 1 gated conditions"
    )
    told = gate(difference(1.0, 0.1), difference(2.0, 0.1), difference(0.2, 3.0), undecided="accept").reason
    assert told.endswith("any of 3 gated conditions, better in 2, too few pairs to be sure in 1")


def leak(points: float, condition: str, real_far: float | None = None, half_width: float = 0.1):
    held = () if real_far is None else [RealFar(1e-3, real_far, real_far - 5e-4, real_far + 5e-4)]
    return difference(points, half_width, condition=condition, real_far=held)


def test_a_leaking_threshold_refuses_whatever_the_accuracy_and_names_the_worst_three():
    options = {"one_threshold_far": 1e-3, "most_real_far": 2.0}
    assert gate(leak(1.0, "clean", 2.5e-3), **options).passes  # low end 2e-3: not surely above
    cells = [leak(1.0, f"veil-{place}", 3e-3 + place * 1e-3) for place in range(4)]
    decision = gate(leak(1.0, "clean", 1e-3), *cells, **options)
    assert not decision.passes
    assert len(decision.gated) == 5
    assert "FAR 0.001 more than 0.002 of the impostors" in decision.reason
    found = [decision.reason.find(f"lfw/veil-{place} ") for place in (3, 2, 1)]
    assert found == sorted(found)
    assert found[0] > 0
    assert "veil-0" not in decision.reason
    assert "clean 0" not in decision.reason


def test_an_unknown_real_far_refuses_and_names_three_places():
    cells = [leak(1.0, f"veil-{place}") for place in range(4)]
    reason = gate(leak(1.0, "clean", 1e-3), *cells, one_threshold_far=1e-3).reason
    assert "in lfw/veil-0, lfw/veil-1, lfw/veil-2: name the rate in evaluate.far" in reason


def test_one_undecided_condition_among_inferior_ones_says_that_more_pairs_would_tell():
    reason = gate(difference(-2.0, 0.1), difference(-0.5, 2.0, condition="veil")).reason
    assert "promote.undecided" in reason
