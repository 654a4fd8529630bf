"""One threshold for every condition: what it accepts, how sure that is, and who may use it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from simulated import simulated_set

from oaml_core.config import Config, PromoteConfig
from oaml_core.errors import ConfigError
from oaml_core.evaluation.report.report import write_report
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap
from oaml_core.evaluation.statistics.one_threshold import at_one_threshold, set_thresholds
from oaml_core.evaluation.verdict.comparison import Difference, ModelComparison, RealFar
from oaml_core.evaluation.verdict.gate import decide
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.evaluation.verdict.results import Evaluation
from oaml_core.evaluation.verdict.summary import markdown

PAIRS = 4000


def drawn(shift: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Genuine pairs 4 σ above impostors; both moved by `shift`."""
    issame = np.arange(PAIRS) % 2 == 0
    return np.random.default_rng(seed).normal(0, 1, PAIRS) + 4 * issame + shift, issame


def bootstrap_of(issame: np.ndarray) -> IdentityBootstrap:
    first = np.arange(PAIRS) // 4 * 2
    return IdentityBootstrap(first, np.where(issame, first, first + 1), issame, np.random.default_rng(0), 200)


def test_shifted_impostors_show_as_a_real_far_above_the_rate_asked_for():
    clean, issame = drawn(0.0, 0)
    values = {"clean": clean, "same": drawn(0.0, 1)[0], "inflated": drawn(1.0, 2)[0]}
    found = at_one_threshold(values, issame, [1e-2], bootstrap_of(issame))

    by = {condition: next(one for one in points if one.set_on == "clean") for condition, points in found.items()}
    assert by["clean"].real_far.difference == pytest.approx(1e-2, abs=1e-9)
    assert by["same"].real_far.low <= 1e-2 <= by["same"].real_far.high
    # Φ(−2.33 + 1) = 0.092
    assert by["inflated"].real_far.difference == pytest.approx(0.092, abs=0.02)
    assert by["inflated"].real_far.low > 1e-2
    accepted = values["inflated"] >= by["inflated"].threshold
    assert by["inflated"].tar.difference == accepted[issame].mean()
    assert by["inflated"].real_far.difference == accepted[~issame].mean()


def test_the_pooled_threshold_holds_its_rate_over_the_mix():
    clean, issame = drawn(0.0, 0)
    values = {"clean": clean, "inflated": drawn(1.0, 2)[0]}
    found = at_one_threshold(values, issame, [1e-2], bootstrap_of(issame))
    pooled = [one for points in found.values() for one in points if one.set_on == "pooled"]
    assert np.mean([one.real_far.difference for one in pooled]) == pytest.approx(1e-2, abs=3e-4)
    assert pooled[0].real_far.difference < 1e-2 < pooled[1].real_far.difference


def test_repeating_pairs_under_more_conditions_measures_no_smaller_rate():
    scores, issame = drawn(0.0, 0)
    values = dict.fromkeys(("clean", "a", "b", "c"), scores)
    rates = {(set_on, rate) for set_on, rate, _ in set_thresholds(values, issame, [1e-2, 2e-4])}
    assert rates == {("clean", 1e-2), ("pooled", 1e-2)}


def test_metrics_report_and_summary_tell_it(tmp_path):
    result = simulated_set("lfw")
    found = metrics(Evaluation({"lfw": result}))
    rows = found["sets"]["lfw"]["conditions"]["veil"]["scores"]["combined"]["at_one_threshold"]
    assert {row["set_on"] for row in rows} == {"clean", "pooled"}
    assert all(row["real_far_interval"][0] <= row["real_far"] <= row["real_far_interval"][1] for row in rows)
    json.dumps(found, allow_nan=False)
    assert "at one threshold, set on the clean pairs for FAR 0.01" in markdown(found)
    write_report(Evaluation({"lfw": result}), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "One threshold for all conditions" in text
    assert "real FAR" in text


def cell(low: float, real: float, high: float) -> Difference:
    whole = Difference("lfw", "veil", "combined", 0.9, 0.9, 0.0, 0.0, 0.0, 0, 0, 1.0, "not distinguishable", [])
    return replace(whole, real_far=[RealFar(1e-3, real, low, high)])


def test_the_gate_refuses_a_threshold_that_leaks_under_cover():
    gated = PromoteConfig(one_threshold_far=1e-3)
    leaking = ModelComparison("champion", [cell(1.5e-3, 2.5e-3, 4e-3)], [])
    assert decide(leaking, PromoteConfig()).passes
    refused = decide(leaking, gated)
    assert not refused.passes
    assert "lfw/veil 0.0025 (0.0015 … 0.004)" in refused.reason
    assert decide(leaking, PromoteConfig(one_threshold_far=1e-3, most_real_far=2.0)).passes
    assert decide(ModelComparison("champion", [cell(0.8e-3, 1.6e-3, 2.6e-3)], []), gated).passes


def test_the_gate_says_so_where_the_rate_was_not_measured():
    refused = decide(ModelComparison("champion", [cell(0, 0, 0)], []), PromoteConfig(one_threshold_far=1e-5))
    assert not refused.passes
    assert "evaluate.far" in refused.reason


@pytest.mark.parametrize("wrong", [{"one_threshold_far": 0.0}, {"one_threshold_far": 1.0}, {"most_real_far": 0.5}])
def test_rates_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="promote"):
        Config(promote=PromoteConfig(**wrong))
