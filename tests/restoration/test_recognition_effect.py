"""Verification of degraded faces, by a recogniser that knows colours, with a prior of faces made of flat places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation.colour_model import ColourRecogniser
from torch import Tensor

from oaml_core.config.restoration import RestorationConfig, check_restoration
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import ConfigError, EvaluationError
from oaml_core.restoration.cross_pairs import CrossPairs
from oaml_core.restoration.evaluate import RecognitionRow
from oaml_core.restoration.recognition import embedding_of, recognition_effect

PEOPLE, SIDE = 12, 28


def flat_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """Of faces that are of one colour in each of 7 × 7 places."""
    means = torch.nn.functional.adaptive_avg_pool2d(x, 7).repeat_interleave(4, 2).repeat_interleave(4, 3)
    variance = sigma.reshape(-1, 1, 1, 1) ** 2 / 16
    return means * 0.25 / (0.25 + variance)


@pytest.fixture(scope="module")
def rows() -> list[RecognitionRow]:
    generator = np.random.default_rng(0)
    colours = generator.integers(20, 28, (PEOPLE, 7, 7, 3))
    people = [who for i in range(40) for who in ((i % PEOPLE,) * 2 if i % 2 == 0 else (i % PEOPLE, (i + 5) % PEOPLE))]
    faces = (colours[people] + generator.normal(0, 3, (80, 7, 7, 3))).clip(0, 255).astype(np.uint8)
    images = faces.repeat(SIDE // 7, 1).repeat(SIDE // 7, 2)
    issame = np.arange(40) % 2 == 0
    pairs = VerificationSet("drawn", images, issame, None, np.array(people))
    torch.manual_seed(0)
    config = RestorationConfig(test_pairs=40, test_covered_pairs=20, steps=4, samples=2)
    return recognition_effect(embedding_of(ColourRecogniser().eval()), flat_denoiser, pairs, config)


def test_every_kind_of_second_face_has_a_row_with_intervals(rows: list[RecognitionRow]) -> None:
    assert [(row.condition, row.faces, row.pairs) for row in rows] == [
        ("clean", "measured", 40),
        ("dark", "measured", 40),
        ("dark", "non-local means", 40),
        ("dark", "posterior mean", 40),
        ("clean", "measured", 20),
        ("covered", "measured", 20),
        ("covered", "posterior mean", 20),
        ("covered", "one sample", 20),
        ("covered", "all samples", 20),
    ]
    for row in rows:
        assert row.accuracy.low <= row.accuracy.difference <= row.accuracy.high
        assert row.tar.low <= row.tar.difference <= row.tar.high
        assert row.far_deployed.low <= row.far_deployed.difference <= row.far_deployed.high
        assert [gain is None for gain in (row.gain, row.tar_gain, row.far_gain)] == [row.faces == "measured"] * 3


def test_gains_are_against_the_same_pairs_as_measured(rows: list[RecognitionRow]) -> None:
    clean, dark, _, restored = rows[:4]
    assert clean.auc > dark.auc
    assert restored.gain is not None
    assert restored.gain.difference == pytest.approx(restored.accuracy.difference - dark.accuracy.difference)
    assert restored.gain.low <= restored.gain.difference <= restored.gain.high
    assert restored.tar_gain is not None
    assert restored.tar_gain.difference == pytest.approx(restored.tar.difference - dark.tar.difference)
    assert clean.tar_deployed.difference == clean.tar.difference
    assert 0 < clean.far_deployed.difference <= clean.far


def test_faces_that_all_become_alike_are_seen_as_impostors_let_in() -> None:
    """A fault that the pairs' own threshold hides: a filling that makes one face of everybody lets everybody in."""
    people = np.arange(200) // 4
    same = np.arange(200) % 2 == 0
    second = np.where(same, people, (people + 7) % 50)
    generator = np.random.default_rng(0)
    scores = 0.2 * generator.normal(size=(200, 200)) + (people[:, None] == second)
    cross = CrossPairs(people, second, same, resamples=200)
    assert cross.impostors == (people[:, None] != second).sum()
    tar, threshold, resampled = cross.tar(scores, 1e-3)
    assert tar == pytest.approx((np.diag(scores)[same] >= threshold).mean())
    assert np.quantile(resampled, 0.025) <= tar <= np.quantile(resampled, 0.975)
    (deployed, _), (rate, rates) = cross.accepted(scores, threshold)
    assert deployed == tar
    assert 0.0009 < rate <= 0.001
    assert np.quantile(rates, 0.025) < rate < np.quantile(rates, 0.975)
    (_, _), (alike, _) = cross.accepted(scores + 0.5, threshold)
    assert alike > 10 * rate
    assert cross.tar(scores + 0.5, 1e-3)[0] == tar


def test_resamples_of_one_threshold_weigh_pairs_by_their_people() -> None:
    people, same = np.array([0, 0, 1, 2]), np.array([True, False, True, False])
    second = np.array([0, 1, 1, 0])
    scores = np.arange(16.0).reshape(4, 4)
    cross = CrossPairs(people, second, same, resamples=50)
    (_, tar), (_, far) = cross.accepted(scores, 6.0)
    generator = np.random.default_rng(0)
    for k in range(50):
        times = np.bincount(generator.integers(3, size=3), minlength=3)
        weights = times[people][:, None] * times[second] * (people[:, None] != second)
        assert far[k] == pytest.approx((weights * (scores >= 6)).sum() / max(weights.sum(), 1))
        genuine = times[people] * same
        assert tar[k] == pytest.approx((genuine * (np.diag(scores) >= 6)).sum() / max(genuine.sum(), 1))


def test_faces_in_the_dark_can_be_left_out() -> None:
    check_restoration(RestorationConfig(test_pairs=0))
    with pytest.raises(ConfigError, match=r"restoration\.test_pairs is -1"):
        check_restoration(RestorationConfig(test_pairs=-1))


def test_too_few_impostors_for_a_rate_are_named() -> None:
    cross = CrossPairs(np.array([0, 1]), np.array([0, 2]), np.array([True, False]), resamples=5)
    with pytest.raises(EvaluationError, match=r"3 pairs of different people .* restoration\.test_pairs"):
        cross.tar(np.eye(2), 1e-3)
