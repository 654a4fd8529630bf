"""Verification of degraded faces, by a recogniser that knows colours, with a prior of faces made of flat places."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation.colour_model import ColourRecogniser
from torch import Tensor

from oaml_core.config.restoration import RestorationConfig
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.restoration.evaluate import RecognitionRow
from oaml_core.restoration.recognition import recognition_effect

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
    return recognition_effect(ColourRecogniser().eval(), flat_denoiser, pairs, config)


def test_every_kind_of_second_face_has_a_row_with_intervals(rows: list[RecognitionRow]) -> None:
    assert [(row.condition, row.faces, row.pairs) for row in rows] == [
        ("clean", "measured", 40),
        ("dark", "measured", 40),
        ("dark", "non-local means", 40),
        ("dark", "posterior mean", 40),
        ("clean", "measured", 20),
        ("covered", "measured", 20),
        ("covered", "posterior mean", 20),
    ]
    for row in rows:
        assert row.accuracy.low <= row.accuracy.difference <= row.accuracy.high
        assert row.tar.low <= row.tar.difference <= row.tar.high
        assert (row.gain is None) == (row.faces == "measured")


def test_gains_are_against_the_same_pairs_as_measured(rows: list[RecognitionRow]) -> None:
    clean, dark, _, restored = rows[:4]
    assert clean.auc > dark.auc
    assert restored.gain is not None
    assert restored.gain.difference == pytest.approx(restored.accuracy.difference - dark.accuracy.difference)
    assert restored.gain.low <= restored.gain.difference <= restored.gain.high
