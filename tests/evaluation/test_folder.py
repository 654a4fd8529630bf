"""All pairs of one's own images: the scores of pairs, in matrices, rates, searches, text."""

from __future__ import annotations

import json

import numpy as np
import pytest

from oaml_core.config import EvaluateConfig
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.own_faces import folder as folder_module
from oaml_core.evaluation.own_faces.folder import balanced_pairs, evaluate_folder
from oaml_core.evaluation.own_faces.folder_output import folder_text, save_matrices, save_picture
from oaml_core.evaluation.scoring.face_store import described
from oaml_core.evaluation.scoring.scores import score_pairs
from oaml_core.evaluation.statistics.roc import roc, tar_at_far

CONFIG = EvaluateConfig(far=(1e-1, 1e-2, 1e-3, 1e-4))


@pytest.fixture(scope="session")
def faces(pairs) -> tuple[np.ndarray, np.ndarray]:
    """Fifty images of twenty patterns, and who they show."""
    identities = np.random.default_rng(0).permutation(np.repeat(np.arange(25), 2))
    generator = np.random.default_rng(1)
    patterns = pairs.images[0:50:2].astype(np.float64)[identities]
    noise = generator.normal(0, 45, (50, 7, 7, 3)).repeat(16, 1).repeat(16, 2)
    return (patterns + noise).clip(0, 255).astype(np.uint8), identities


@pytest.fixture
def result(model, faces, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "BLOCK", 16)
    images, identities = faces
    with described(model, images, len(images), "cpu", tmp_path) as store:
        return evaluate_folder(store, [f"{i}.jpg" for i in range(50)], identities, CONFIG)


def test_matrices_hold_the_scores_of_pairs(model, faces, result):
    images, _ = faces
    pair = np.array([[3, 40], [17, 18], [49, 0]])
    expected = score_pairs(model, images[pair.ravel()])
    for (a, b), one, local in zip(pair, expected.global_score, expected.local_score, strict=True):
        assert result.matrices["global"][a, b] == pytest.approx(one, abs=1e-5)
        assert result.matrices["local"][a, b] == pytest.approx(local, rel=1e-5)
    for matrix in result.matrices.values():
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-5)


def test_rates_are_those_of_the_matrices(faces, result):
    _, identities = faces
    upper = np.triu_indices(50, 1)
    same = (identities[:, None] == identities)[upper]
    for name, matrix in result.matrices.items():
        expected = tar_at_far(roc(matrix[upper], same), CONFIG.far)
        assert [p.tar for p in result.all_pairs[name].tar_at_far] == [p.tar for p in expected]
    assert result.all_pairs["global"].genuine == 25
    assert not result.all_pairs["global"].tar_at_far[-1].measurable
    assert result.all_pairs["combined"].auc.value > 0.9


def test_searches_are_those_of_the_matrices(faces, result):
    _, identities = faces
    gallery = np.array([np.flatnonzero(identities == person)[0] for person in range(25)])
    probes = np.setdiff1d(np.arange(50), gallery)
    matrix = result.matrices["combined"][np.ix_(probes, gallery)]
    found = identities[gallery][matrix.argmax(1)] == identities[probes]
    assert result.identification["combined"].rank[1] == pytest.approx(found.mean())


def test_output_is_complete(result, tmp_path):
    text = folder_text(result, [{"image": "broken.jpg", "reason": "the image is empty"}])
    for expected in ("50 images of 25 identities: 25 genuine and 1,200 impostor pairs", "VR@FAR 0.001", "rank 1"):
        assert expected in text
    assert "broken.jpg: the image is empty" in text
    assert "–" in next(line for line in text.splitlines() if line.startswith("combined"))
    json.dumps(result.as_json(), allow_nan=False)
    stored = np.load(save_matrices(result, ["somebody"] * 50, ["0" * 64] * 50, tmp_path / "similarity.npz"))
    assert stored["names"][7] == "7.jpg"
    np.testing.assert_array_equal(stored["local"], result.matrices["local"])
    assert save_picture(result, tmp_path / "similarity.png").stat().st_size > 1000
    assert not list(tmp_path.glob("*partial*"))


def test_many_images_leave_no_matrices_and_no_files(model, faces, tmp_path):
    images, identities = faces
    few = EvaluateConfig(far=(1e-1,), matrix_images=49)
    with described(model, images, len(images), "cpu", tmp_path) as store:
        assert any(tmp_path.iterdir())
        assert evaluate_folder(store, [""] * 50, identities, few).matrices is None
    assert not list(tmp_path.iterdir())


def test_one_image_of_everybody_is_refused(model, faces, tmp_path):
    images, _ = faces
    with (
        described(model, images[:5], 5, "cpu", tmp_path) as store,
        pytest.raises(EvaluationError, match="two images of"),
    ):
        evaluate_folder(store, [""] * 5, np.arange(5), CONFIG)


def test_the_normalising_pairs_are_balanced_and_of_different_images():
    identities = np.random.default_rng(3).integers(0, 9, 100)
    first, second, same = balanced_pairs(identities, 60, np.random.default_rng(0))
    assert (same.sum(), (~same).sum()) == (30, 30)
    assert (first != second).all()
    np.testing.assert_array_equal(same, identities[first] == identities[second])
