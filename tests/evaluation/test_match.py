"""Two files compared: scores, decision, picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from oaml_core.config import Config, EvaluateConfig
from oaml_core.errors import EvaluationError, ModelInputError
from oaml_core.evaluation.compared_pair import strongest_correspondences
from oaml_core.evaluation.evaluate import evaluate_model
from oaml_core.evaluation.match import Operating, match_images
from oaml_core.evaluation.results import metrics


@pytest.fixture
def files(pairs, tmp_path):
    paths = [tmp_path / f"{row}.png" for row in range(4)]
    for path, image in zip(paths, pairs.images, strict=False):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def found_metrics(model, pairs):
    config = Config(evaluate=EvaluateConfig(occluders=(), block_shares=(), far=(0.1, 0.025, 1e-6)))
    return metrics(evaluate_model(model, {"patterns": pairs}, config, examples=0))


def test_decides_as_the_evaluation_did(model, files, found_metrics):
    genuine = match_images(model, files[0], files[1], metrics=found_metrics, far=0.025)
    impostor = match_images(model, files[2], files[3], metrics=found_metrics, far=0.025)

    assert genuine.same is True
    assert impostor.same is False
    assert "same person" in str(genuine)
    assert "different people" in str(impostor)


def test_combined_score_is_the_one_that_the_evaluation_gave_this_pair(model, pairs, files, found_metrics):
    evaluation = evaluate_model(
        model, {"patterns": pairs}, Config(evaluate=EvaluateConfig(occluders=(), block_shares=())), examples=0
    )
    expected = evaluation.sets["patterns"].conditions["clean"].scores["combined"].values[0]
    assert match_images(model, files[0], files[1], metrics=found_metrics).combined_score == pytest.approx(expected)


def test_without_metrics_there_are_scores_and_no_decision(model, files):
    result = match_images(model, files[0], files[1])
    assert result.same is None
    assert -1 <= result.global_score <= 1
    assert "no decision" in str(result)


def test_picture_shows_both_faces(model, pairs, files, tmp_path):
    out = tmp_path / "new" / "pair.png"
    result = match_images(model, files[0], files[1], out)

    assert result.picture == out
    with Image.open(out) as picture:
        left = np.asarray(picture.crop((0, 0, 448, 448)).resize((7, 7), Image.Resampling.BOX), float)
    face = np.asarray(Image.fromarray(pairs.images[0]).resize((7, 7), Image.Resampling.BOX), float)
    # Lines are drawn over it; most of the face is still to be seen.
    assert np.median(np.abs(left - face)) < 25
    assert [path.name for path in out.parent.iterdir()] == ["pair.png"]


def test_the_smallest_measured_rate_decides_where_the_wanted_one_is_not_measurable(found_metrics):
    assert Operating.from_metrics(found_metrics, far=0.1).far <= 0.1
    strictest = Operating.from_metrics(found_metrics, far=1e-6)
    assert strictest.threshold == Operating.from_metrics(found_metrics, far=0.025).threshold
    with pytest.raises(EvaluationError, match="oaml evaluate"):
        Operating.from_metrics({"sets": {}})


def test_files_that_are_no_aligned_faces_are_named(model, files, tmp_path):
    wide, text = tmp_path / "wide.png", tmp_path / "text.jpg"
    Image.new("RGB", (200, 100)).save(wide)
    text.write_text("no image")
    for path, message in ((wide, "200 × 100"), (text, "text.jpg"), (tmp_path / "none.jpg", "none.jpg")):
        with pytest.raises(ModelInputError, match=message):
            match_images(model, files[0], path)


def test_an_image_of_another_size_is_resampled(model, pairs, tmp_path):
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    image = Image.fromarray(pairs.images[0])
    image.save(small)
    image.resize((448, 448), Image.Resampling.BICUBIC).save(large)
    assert match_images(model, small, large).global_score > 0.99


def test_correspondences_join_the_places_that_moved():
    first = torch.eye(9).reshape(9, 3, 3)
    second = first.roll(1, dims=2)  # every place one column to the right
    visible = torch.ones(1, 3, 3)
    hidden = visible.clone()
    hidden[0, 0] = 0

    found = strongest_correspondences(first, second, visible, visible, count=9)
    assert {(a, b) for a, b, _ in found} == {(r * 3 + c, r * 3 + (c + 1) % 3) for r in range(3) for c in range(3)}
    assert all(a >= 3 for a, _, _ in strongest_correspondences(first, second, hidden, visible, count=9))
