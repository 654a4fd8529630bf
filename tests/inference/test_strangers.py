"""Scores measured by strangers: one threshold whatever covers a face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from oaml_core.inference.combining import CombinedRule, Normalisation, combined_scores_of
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.strangers import Strangers, deviation

GLOBAL, LOCAL = 24, 16
RULE = CombinedRule(Normalisation(0.1, 0.3, -2.0, 4.0), 0.2, 0.8, line=(15.0, -3.0))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def faces(count: int, seed: int, kept: int = LOCAL) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of `count` people; local ones with directions of unequal spread, of which the first `kept` are
    strong, as cover leaves them."""
    draws = np.random.default_rng(seed)
    local = draws.normal(size=(count, LOCAL)) * np.geomspace(1, 0.1, LOCAL)
    local[:, kept:] += 3.0 * np.geomspace(1, 0.1, LOCAL)[kept:]
    return unit(draws.normal(size=(count, GLOBAL)) * np.geomspace(1, 0.2, GLOBAL)), unit(local)


def records(embedding: np.ndarray, local: np.ndarray) -> FaceRecords:
    n = len(embedding)
    plain = np.ones((n, 1, 1, 1), np.float32)
    return FaceRecords(embedding.astype(np.float32), plain, plain, np.ones(n, np.float32), local.astype(np.float32))


def test_the_spread_is_that_of_the_scores_with_the_strangers():
    strangers, probes = faces(900, 0), faces(5, 1)
    spread = Strangers.of(*strangers).spread(*probes)
    scores = [probe @ known.T for probe, known in zip(probes, strangers, strict=True)]
    for face in range(5):
        direct = np.cov(scores[0][face], scores[1][face])
        np.testing.assert_allclose(spread[face], [direct[0, 0], direct[0, 1], direct[1, 1]], rtol=2e-3, atol=1e-6)
    weighted = 0.3 * scores[0] + 1.7 * scores[1]
    np.testing.assert_allclose(deviation(spread, 0.3, 1.7), weighted.std(axis=1, ddof=1), rtol=1e-3)


def test_without_a_local_vector_the_spread_is_that_of_the_global_score():
    strangers, probes = faces(900, 0)[0], faces(5, 1)[0]
    spread = Strangers.of(strangers, np.empty(0)).spread(probes, np.empty(0))
    np.testing.assert_allclose(np.sqrt(spread[:, 0]), (probes @ strangers.T).std(axis=1, ddof=1), rtol=1e-3)
    assert (spread[:, 1:] == 0).all()


def test_one_threshold_keeps_its_rate_among_covered_faces():
    """Covered faces share what covers them: their scores with uncovered strangers lie closer together."""
    known = replace(RULE, strangers=Strangers.of(*faces(2000, 0)))
    clean, others, covered = faces(300, 1), faces(300, 2), faces(300, 3, kept=4)

    def rate(rule: CombinedRule, threshold: float | None = None) -> float:
        def scores(second: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
            one, other = records(*clean), records(*second)
            cosines = one.local_embedding @ other.local_embedding.T
            spreads = None
            if rule.strangers is not None:
                first, last = (rule.strangers.spread(side.embedding, side.local_embedding) for side in (one, other))
                spreads = first[:, None], last[None]
            return rule.of(one.embedding @ other.embedding.T, 15.0 * cosines - 3.0, spreads)

        at = np.quantile(scores(others), 0.99)
        return float((np.abs(scores(covered) - np.median(scores(covered))) > at - np.median(scores(others))).mean())

    plain, measured = rate(RULE), rate(known)
    assert abs(np.log(measured / 0.02)) < abs(np.log(plain / 0.02)) / 2


@pytest.mark.parametrize("power", [None, 0.5, 1.0])
def test_the_score_is_the_weighted_cosines_in_deviations_of_both_faces(power):
    """Models exported without a power divide scores by both deviations, as their thresholds ask."""
    strangers, one, other = faces(900, 0), faces(4, 1), faces(4, 2)
    stored = Strangers.of(*strangers).as_json()
    assert stored.pop("power") == 0.5
    known_by = Strangers.stored(stored if power is None else stored | {"power": power})
    rule = replace(RULE, global_weight=1.0, local_weight=3.0, strangers=known_by)
    weights = np.sqrt([0.25 / 0.3, 0.75 * 15.0 / 4.0])

    def weighted(side: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.concatenate([weight * part for weight, part in zip(weights, side, strict=True)], axis=1)

    known = weighted(strangers)
    deviations = [(weighted(side) @ known.T).std(axis=1, ddof=1) for side in (one, other)]
    expected = (weighted(one) * weighted(other)).sum(1) / (deviations[0] * deviations[1]) ** (power or 1.0)
    cosines = [(a * b).sum(1) for a, b in zip(one, other, strict=True)]
    spreads = tuple(rule.strangers.spread(*side) for side in (one, other))
    np.testing.assert_allclose(rule.of(cosines[0], 15.0 * cosines[1] - 3.0, spreads), expected, rtol=1e-3)


def test_without_strangers_the_score_is_the_weighted_mean_of_the_normalised_scores():
    rule = replace(RULE, global_weight=1.0, local_weight=3.0)
    expected = 0.25 * (0.7 - 0.1) / 0.3 + 0.75 * (5.0 + 2.0) / 4.0
    np.testing.assert_allclose(rule.of(np.array([0.7]), np.array([5.0])), [expected], rtol=1e-12)


def test_the_score_of_a_pair_does_not_depend_on_which_face_comes_first():
    known = replace(RULE, strangers=Strangers.of(*faces(900, 0)))
    one, other = records(*faces(4, 1)), records(*faces(4, 2))
    both = [
        combined_scores_of(
            known,
            a,
            b,
            (a.embedding * b.embedding).sum(1).astype(np.float64),
            15.0 * (a.local_embedding * b.local_embedding).sum(1).astype(np.float64) - 3.0,
        )
        for a, b in ((one, other), (other, one))
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-12)


def test_what_is_stored_measures_the_same():
    known = Strangers.of(*faces(900, 0))
    again = Strangers.stored(known.as_json())
    assert (again.covariance == known.covariance).all()
    assert (again.faces, again.embedding_size, again.power) == (900, GLOBAL, known.power)
    assert (known.covariance == known.covariance.T).all()


@pytest.mark.parametrize(
    "damage",
    [
        {"upper": "no base64!"},
        {"upper": ""},
        {"upper": "AAAA" * 5},
        {"embedding_size": 4000},
        {"embedding_size": "24"},
        {"unit": 0},
        {"unit": "much"},
        {"faces": None},
        {"power": 0},
        {"power": 1.5},
        {"power": "root"},
        {"power": None},
        {"power": float("nan")},
    ],
)
def test_damaged_strangers_are_refused(damage):
    content = Strangers.of(*faces(900, 0)).as_json() | damage
    with pytest.raises(ValueError, match="strangers"):
        Strangers.stored(content)


def test_a_rule_that_measures_needs_the_spreads():
    known = replace(RULE, strangers=Strangers.of(*faces(900, 0)))
    with pytest.raises(ValueError, match="spreads"):
        known.of(np.zeros(2), np.zeros(2))
