"""A probe against a gallery: ranking, decision, picture, and what is said of files that are no faces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from oaml_core.config import Config, EvaluateConfig
from oaml_core.errors import DataError, ModelInputError
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.verdict.evaluate import evaluate_model
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.inference.identify import draw_identification, identify


@pytest.fixture
def comparer(model, pairs):
    config = Config(evaluate=EvaluateConfig(occluders=(), block_shares=(), far=(0.1,)))
    return CheckpointComparer(model, 112, metrics(evaluate_model(model, {"patterns": pairs}, config, examples=0)))


@pytest.fixture
def gallery(pairs, tmp_path):
    """Two pictures of `ann` in a folder, and `bob` and `cem` at the top."""
    folder = tmp_path / "gallery"
    (folder / "ann").mkdir(parents=True)
    for name, row in (("ann/1", 4), ("ann/2", 0), ("bob", 2), ("cem", 6)):
        Image.fromarray(pairs.images[row]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def probe(pairs, tmp_path):
    path = tmp_path / "probe.png"
    Image.fromarray(pairs.images[1]).save(path)
    return path


def test_people_are_ranked_by_their_best_picture(comparer, gallery, probe):
    found = identify(comparer, gallery, probe, far=0.1, top=2)
    assert [one.person for one in found.candidates] == ["ann", found.candidates[1].person]
    assert found.candidates[0].path.name == "2.png"
    assert found.candidates[0].score > found.candidates[1].score
    assert (found.score, found.faces) == ("combined", 4)
    assert found.known is True
    assert str(found).startswith("ann: combined")


def test_a_stranger_is_nobody(comparer, gallery, probe, pairs):
    for path in (gallery / "ann").iterdir():
        path.unlink()
    found = identify(comparer, gallery, probe, far=0.1)
    assert {one.person for one in found.candidates} == {"bob", "cem"}
    assert found.known is False
    assert "nobody in the gallery" in str(found)


def test_without_a_threshold_for_the_rate_there_is_a_ranking_and_no_decision(comparer, gallery, probe):
    found = identify(comparer, gallery, probe, far=1e-6)
    assert found.known is None
    assert found.candidates[0].person == "ann"
    assert "no decision" in str(found)


def test_without_metrics_the_global_score_ranks(model, gallery, probe):
    found = identify(CheckpointComparer(model, 112), gallery, probe, far=0.1)
    assert (found.score, found.candidates[0].person, found.known) == ("global", "ann", None)


@pytest.mark.parametrize("far", [0.1, 1e-6])
def test_the_likelihood_ratio_of_the_first_is_said_where_the_model_has_one(comparer, gallery, probe, monkeypatch, far):
    assert "; likelihood ratio" not in str(identify(comparer, gallery, probe, far=far))
    scores = comparer.scores

    def with_ratio(one, known):
        found = scores(one, known)
        ratio = np.log(np.where(found.combined_score == found.combined_score.max(), 240.0, 1 / 7))
        return found._replace(log_likelihood_ratio=ratio, ratio_interval=ratio[:, None] + [-math.log(3), math.log(2)])

    monkeypatch.setattr(comparer, "scores", with_ratio)
    found = identify(comparer, gallery, probe, far=far)
    assert "; likelihood ratio 240 (95 % interval 80 to 480)" in str(found).splitlines()[0]
    assert [one.ratio.log for one in found.candidates[1:]] == [pytest.approx(-math.log(7))] * 2


def test_picture_shows_probe_and_first_candidate(comparer, gallery, probe, tmp_path):
    found = identify(comparer, gallery, probe, far=0.1)
    draw_identification(found, probe, 112, tmp_path / "out.png")
    picture = np.asarray(Image.open(tmp_path / "out.png"))
    assert picture.shape[1] > 2 * 112
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_gallery_files_that_are_no_faces_are_left_out_and_named(comparer, gallery, probe):
    (gallery / "broken.jpg").write_bytes(b"no picture")
    Image.new("RGB", (100, 50)).save(gallery / "wide.png")
    found = identify(comparer, gallery, probe, far=0.1)
    assert sorted(path.name for path in found.left_out) == ["broken.jpg", "wide.png"]
    assert "left out: " in str(found)
    assert "100 × 50" in str(found)


def test_what_cannot_be_searched_is_named(comparer, gallery, probe, tmp_path):
    with pytest.raises(DataError, match="The gallery: there is no"):
        identify(comparer, tmp_path / "none", probe, far=0.1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        identify(comparer, tmp_path / "empty", probe, far=0.1)
    (tmp_path / "empty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="No picture in"):
        identify(comparer, tmp_path / "empty", probe, far=0.1)
    with pytest.raises(ModelInputError, match="There is no image"):
        identify(comparer, gallery, tmp_path / "none.png", far=0.1)
