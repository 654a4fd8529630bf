"""Two files compared: scores, decision, picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from oaml_core.config import Config, EvaluateConfig
from oaml_core.errors import ModelInputError
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.verdict.evaluate import evaluate_model
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.inference.compared_pair import strongest_correspondences
from oaml_core.inference.drawing import save_pair
from oaml_core.inference.match import match_files


@pytest.fixture
def files(pairs, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(4)]
    for path, image in zip(paths, pairs.images, strict=False):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def evaluation(model, pairs):
    config = Config(evaluate=EvaluateConfig(occluders=(), block_shares=(), far=(0.1, 0.025, 1e-6)))
    return evaluate_model(model, {"patterns": pairs}, config, examples=0)


@pytest.fixture
def comparer(model, evaluation):
    return CheckpointComparer(model, 112, metrics(evaluation))


def test_decides_as_the_evaluation_did(comparer, files):
    genuine = match_files(comparer, files[0], files[1], far=0.025)
    impostor = match_files(comparer, files[2], files[3], far=0.025)

    assert genuine.comparison.same is True
    assert impostor.comparison.same is False
    assert "same person" in str(genuine)
    assert "different people" in str(impostor)


def test_combined_score_is_the_one_that_the_evaluation_gave_this_pair(evaluation, comparer, files):
    expected = evaluation.sets["patterns"].conditions["clean"].scores["combined"].values[0]
    found = match_files(comparer, files[0], files[1], far=0.1).comparison
    assert found.score == found.combined_score == pytest.approx(expected, abs=1e-5)


def test_without_metrics_there_are_scores_and_no_decision(model, files):
    found = match_files(CheckpointComparer(model, 112), files[0], files[1], far=0.1)
    assert found.comparison.same is None
    assert found.comparison.combined_score is None
    assert -1 <= found.comparison.global_score <= 1
    assert "no decision" in str(found)
    assert "metrics.json" in str(found)


def test_a_rate_that_was_not_measured_gives_no_decision_and_names_those_that_were(comparer, files):
    found = match_files(comparer, files[0], files[1], far=1e-6)
    assert found.comparison.same is None
    assert "FAR 1e-06" in str(found)
    assert "one of 0.1, 0.025" in str(found)


def test_picture_shows_both_faces(comparer, pairs, files, tmp_path):
    out = tmp_path / "new" / "pair.png"
    save_pair(match_files(comparer, files[0], files[1], far=0.1).pair, out, "a caption")

    with Image.open(out) as picture:
        left = np.asarray(picture.crop((0, 0, 448, 448)).resize((7, 7), Image.Resampling.BOX), float)
    face = np.asarray(Image.fromarray(pairs.images[0]).resize((7, 7), Image.Resampling.BOX), float)
    # Lines are drawn over it; most of the face is still to be seen.
    assert np.median(np.abs(left - face)) < 25
    assert [path.name for path in out.parent.iterdir()] == ["pair.png"]


def test_files_that_are_no_aligned_faces_are_named(comparer, files, tmp_path):
    wide, text = tmp_path / "wide.png", tmp_path / "text.jpg"
    Image.new("RGB", (200, 100)).save(wide)
    text.write_text("no image")
    for path, message in ((wide, "200 × 100"), (text, "text.jpg"), (tmp_path / "none.jpg", "none.jpg")):
        with pytest.raises(ModelInputError, match=message):
            match_files(comparer, files[0], path, far=0.1)


def test_an_image_of_another_size_is_resampled(comparer, pairs, tmp_path):
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    image = Image.fromarray(pairs.images[0])
    image.save(small)
    image.resize((448, 448), Image.Resampling.BICUBIC).save(large)
    assert match_files(comparer, small, large, far=0.1).comparison.global_score > 0.99


def test_correspondences_join_the_places_that_moved():
    first = np.eye(9, dtype=np.float32).reshape(9, 3, 3)
    second = np.roll(first, 1, axis=2)  # every place one column to the right
    visible = np.ones((1, 3, 3), np.float32)
    hidden = visible.copy()
    hidden[0, 0] = 0

    found = strongest_correspondences(first, second, visible, visible, count=9)
    assert {(a, b) for a, b, _ in found} == {(r * 3 + c, r * 3 + (c + 1) % 3) for r in range(3) for c in range(3)}
    assert all(a >= 3 for a, _, _ in strongest_correspondences(first, second, hidden, visible, count=9))


def test_models_of_one_vector_compare_each_place_with_the_same_place():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(16, 3, 3)).astype(np.float32)
    noise = np.linspace(0.1, 4, 9, dtype=np.float32).reshape(3, 3)  # the later a place, the less alike
    second = first + noise * generator.normal(size=first.shape).astype(np.float32)
    visible = np.ones((1, 3, 3), np.float32)
    hidden = visible.copy()
    hidden[0, 0] = 0

    found = strongest_correspondences(first, second, visible, hidden, count=4, same_place=True)
    assert found
    assert all(a == b >= 3 for a, b, _ in found)
    strengths = [strength for _, _, strength in found]
    assert strengths == sorted(strengths, reverse=True)
