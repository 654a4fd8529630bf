"""Intervals of likelihood ratios hold the true ratio of people whose scores are drawn from known distributions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oaml_core.evaluation.scoring.fuse import PENALTY, fit_fusion
from oaml_core.evaluation.scoring.identities import PairIdentities, everybody_once
from oaml_core.inference.combining import Normalisation
from oaml_core.inference.fusion import NONE_SEEN, WEIGHTS, Evidence, Fusion

CONDITIONS = {
    "clean": ((0.97, 0.97, 0.97, 0.97), (2.5, 2.0)),
    "mask": ((0.97, 0.95, 0.3, 0.05), (1.2, 1.8)),
    "glasses": ((0.95, 0.1, 0.9, 0.97), (1.8, 0.6)),
}
"""Visible share of each region, and how far genuine pairs' global and local scores lie above impostors'."""
PEOPLE, PAIRS = 100, 600
OF_PEOPLE, OF_PAIRS = 0.5, 0.35
"""Shares of a score's variance that all pairs of a person have in common, and all conditions of a pair."""


def drawn(generator: np.random.Generator, pairs: int = PAIRS, people: int = PEOPLE, apart: float = 1.0):
    """Return evidence by condition, labels and people. Every score is normal with the variance 1."""
    issame = np.arange(pairs) % 2 == 0
    first = generator.integers(people, size=pairs)
    second = np.where(issame, first, (first + generator.integers(1, people, size=pairs)) % people)
    common = []
    for _ in range(2):
        person, pair = generator.normal(size=people), generator.normal(size=pairs)
        both = np.where(issame, person[first], (person[first] + person[second]) / np.sqrt(2))
        common.append(np.sqrt(OF_PEOPLE) * both + np.sqrt(OF_PAIRS) * pair)
    evidence = {}
    for name, (regions, means) in CONDITIONS.items():
        own = np.sqrt(1 - OF_PEOPLE - OF_PAIRS) * generator.normal(size=(2, pairs))
        scores = [common[k] + own[k] + apart * means[k] * issame for k in range(2)]
        quality = generator.normal(3.0, 0.1, pairs)
        evidence[name] = Evidence(*scores, np.tile(regions, (pairs, 1)), quality)
    return evidence, issame, PairIdentities(first, second, "given", "")


def true_ratio(evidence: Evidence, name: str, apart: float) -> np.ndarray:
    """Logarithm of the ratio of two normal densities per score: m · (s − m/2) at the variance 1."""
    means = (apart * mean for mean in CONDITIONS[name][1])
    return sum(m * (s - m / 2) for m, s in zip(means, evidence[:2], strict=True))


def fitted(evidence: dict[str, Evidence], issame: np.ndarray, people: PairIdentities | None) -> Fusion:
    clean = evidence["clean"]
    statistics = [f(scores) for scores in clean[:2] for f in (np.mean, np.std)]
    return fit_fusion(list(evidence.values()), issame, Normalisation(*statistics), people)


def coverage(apart: float, draws: int) -> tuple[dict[str, float], float]:
    """Share of intervals that hold the true ratio of new people's pairs by condition, and share without open end."""
    held: dict[str, list[np.ndarray]] = {name: [] for name in CONDITIONS}
    closed = []
    for seed in range(draws):
        evidence, issame, people = drawn(np.random.default_rng(seed), apart=apart)
        fusion = fitted(evidence, issame, people)
        for name, one in drawn(np.random.default_rng(1000 + seed), 60, apart=apart)[0].items():
            low, high = fusion.ratio_interval(one).T
            truth = true_ratio(one, name, apart)
            held[name].append((low <= truth) & (truth <= high))
            closed.append(np.isfinite(low) & np.isfinite(high))
    return {name: float(np.mean(found)) for name, found in held.items()}, float(np.mean(closed))


def test_intervals_hold_the_true_ratio_and_say_something() -> None:
    held, closed = coverage(1.0, 20)
    assert min(held.values()) >= 0.95
    assert closed > 0.3


def test_ratios_beyond_what_so_few_people_show_have_an_open_end() -> None:
    held, closed = coverage(1.7, 8)
    assert min(held.values()) >= 0.95
    assert closed < 0.2


def test_intervals_that_take_pairs_for_independent_are_too_narrow() -> None:
    """Pairs of one person are alike, which is why the interval is one over people."""
    aware, blind = [], []
    for seed in range(4):
        evidence, issame, people = drawn(np.random.default_rng(seed))
        aware.append(fitted(evidence, issame, people))
        blind.append(fitted(evidence, issame, everybody_once(issame)))
    one = drawn(np.random.default_rng(9), 60)[0]["mask"]
    wide, narrow = (np.mean([np.ptp(_bounded(fusion, one), axis=1).mean() for fusion in of]) for of in (aware, blind))
    assert narrow < 0.85 * wide


def _bounded(fusion: Fusion, evidence: Evidence) -> np.ndarray:
    """Intervals without regard to how many people there are."""
    return Fusion.stored({**fusion.as_json(), "people": [1e12, 1e12]}).ratio_interval(evidence)


def test_covariance_is_that_of_the_formula_where_everybody_is_in_one_pair() -> None:
    evidence, issame, _ = drawn(np.random.default_rng(0))
    people = everybody_once(issame)
    fusion = fitted(evidence, issame, people)
    x = fusion.regressors(Evidence(*map(np.concatenate, zip(*evidence.values(), strict=True))))
    weights = np.concatenate([fusion.free, fusion.global_slopes, fusion.local_slopes])
    probability = 1 / (1 + np.exp(-x @ weights))
    # As many genuine as impostor pairs: all weigh the same.
    hessian = sum(p * (1 - p) * np.outer(row, row) for p, row in zip(probability, x, strict=True))
    hessian += PENALTY * np.eye(WEIGHTS)
    gradients = (x * (probability - np.tile(issame, 3))[:, None]).reshape(3, PAIRS, WEIGHTS).sum(0)
    # An impostor pair counts for both of its people.
    middle = sum((1 if same else 2) * np.outer(one, one) for one, same in zip(gradients, issame, strict=True))
    inverse = np.linalg.inv(hessian)
    covariance = inverse @ (middle + PENALTY * np.eye(WEIGHTS)) @ inverse
    one = evidence["mask"]
    rows = fusion.regressors(one)
    away = 1.959964 * np.sqrt(np.einsum("ni,ij,nj->n", rows, covariance, rows))
    ratio = fusion.log_likelihood_ratio(one)
    np.testing.assert_allclose(_bounded(fusion, one), np.stack([ratio - away, ratio + away], 1), rtol=1e-4, atol=1e-4)
    assert fusion.people == (PAIRS / 2, PAIRS / 2)


def test_people_of_both_kinds_of_pairs_are_counted() -> None:
    issame = np.array([True, True, False, False, False] * 60)
    first = np.array([0, 0, 1, 2, 1] * 60)
    second = np.array([0, 0, 2, 3, 3] * 60)
    evidence = Evidence(*(np.where(issame, 1.0, 0.0) for _ in range(2)), np.full((300, 4), 0.9), np.full(300, 3.0))
    fusion = fit_fusion(
        [evidence], issame, Normalisation(0.4, 0.5, 0.4, 0.5), PairIdentities(first, second, "given", "")
    )
    assert fusion.people == (1, 3)


def test_ends_stop_where_people_are_too_few() -> None:
    evidence, issame, people = drawn(np.random.default_rng(0))
    fusion = fitted(evidence, issame, people)
    lowest, highest = -np.log(fusion.people[0] / NONE_SEEN), np.log(fusion.people[1] / NONE_SEEN)
    strong = evidence["clean"]._replace(
        global_score=np.where(issame, 30.0, -30.0), local_score=np.where(issame, 30.0, -30.0)
    )
    found = fusion.ratio_interval(strong)
    np.testing.assert_array_equal(found[issame, 1], np.inf)
    np.testing.assert_array_equal(found[~issame, 0], -np.inf)
    np.testing.assert_allclose(found[issame, 0], highest)
    np.testing.assert_allclose(found[~issame, 1], lowest)


def test_intervals_survive_json_and_are_missing_of_former_models() -> None:
    evidence, issame, people = drawn(np.random.default_rng(0))
    fusion = fitted(evidence, issame, people)
    text = json.dumps(fusion.as_json())
    assert len(text) < 6000
    again = Fusion.stored(json.loads(text))
    np.testing.assert_array_equal(again.ratio_interval(evidence["mask"]), fusion.ratio_interval(evidence["mask"]))
    former = {key: value for key, value in json.loads(text).items() if key not in ("covariance_root", "people")}
    old = Fusion.stored(former)
    assert old.ratio_interval(evidence["mask"]) is None
    np.testing.assert_array_equal(
        old.log_likelihood_ratio(evidence["mask"]), fusion.log_likelihood_ratio(evidence["mask"])
    )


@pytest.mark.parametrize("part", ["free", "local_slopes", "covariance_root", "people"])
def test_parts_of_another_length_are_refused(part: str) -> None:
    evidence, issame, people = drawn(np.random.default_rng(0))
    content = fitted(evidence, issame, people).as_json()
    with pytest.raises(ValueError, match=f"{part} has .* not"):
        Fusion.stored({**content, part: content[part][:-1]})
