"""A model whose matcher makes one vector of a face carries it, and compares by it alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from test_onnx_export import CONFIG, METRICS

from oaml_core.errors import ExportError
from oaml_core.evaluation.scoring.scores import score_pairs
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.inference.model_files import matcher_path
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.models.correlation_weighting import Weighting
from oaml_core.models.recogniser import Recogniser, build_recogniser


@pytest.fixture
def images() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (8, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def recogniser(weighting: Weighting = "evidence") -> Recogniser:
    torch.manual_seed(0)
    model = build_recogniser(replace(CONFIG.model, matcher="pooled_alone", weighting=weighting))
    with torch.no_grad():  # as training leaves it: a mean face, and a score of its own
        model.matcher.mean.copy_(0.1 * torch.randn(model.matcher.mean.shape))
        model.matcher.scale.copy_(torch.tensor([13.0, 0.0]))
        model.matcher.shift.copy_(torch.tensor([-4.0, 0.0]))
    return model.eval()


@pytest.mark.parametrize("weighting", ["evidence", "none"])
def test_scores_by_one_vector_are_those_of_the_evaluation(
    tmp_path: Path, images: np.ndarray, weighting: Weighting
) -> None:
    model, path = recogniser(weighting), tmp_path / "model.onnx"
    export_onnx(model, path, CONFIG, images, metrics=METRICS)

    exported = OamlOnnx(path)
    records = exported.records(images)
    pairs = [records.rows(slice(side, None, 2)) for side in (0, 1)]
    found = exported.scores(*pairs)

    np.testing.assert_allclose(np.linalg.norm(records.local_embedding, axis=1), 1, atol=1e-5)
    assert found.local_score is not None
    assert np.ptp(found.local_score) > 0.01
    np.testing.assert_allclose(found.local_score, score_pairs(model, images).local_score, atol=1e-4)
    assert found.deciding[0] == "combined"


def test_image_and_mirrored_image_make_one_vector(tmp_path: Path, images: np.ndarray) -> None:
    export_onnx(recogniser(), tmp_path / "model.onnx", CONFIG, images)
    exported = OamlOnnx(tmp_path / "model.onnx")

    both = exported.embed(images).local_embedding + exported.embed(images[:, :, ::-1]).local_embedding
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)

    np.testing.assert_allclose(exported.records(images).local_embedding, expected, atol=1e-6)
    # So a face and its mirror image are alike to the last bit but one, whatever the model makes of either.
    mirrored = exported.records(np.ascontiguousarray(images[:, :, ::-1])).local_embedding
    np.testing.assert_allclose(mirrored, expected, atol=1e-6)


def test_the_matchers_graph_compares_as_the_vectors_of_single_images(tmp_path: Path, images: np.ndarray) -> None:
    model, path = recogniser(), tmp_path / "model.onnx"
    export_onnx(model, path, CONFIG, images)
    alone = OamlOnnx(path)
    export_matcher_onnx(model, matcher_path(path), CONFIG, images)
    beside = OamlOnnx(path)

    assert beside.matcher is None
    assert beside.version == alone.version
    found = beside.embed(images)
    session = onnxruntime.InferenceSession(str(matcher_path(path)))
    feeds = {
        "probe": found.local_features[:4],
        "gallery": found.local_features[4:],
        "probe_visibility": found.visibility[:4],
        "gallery_visibility": found.visibility[4:],
    }
    cosine = (found.local_embedding[:4] * found.local_embedding[4:]).sum(1)
    np.testing.assert_allclose(session.run(None, feeds)[0], 13 * cosine - 4, atol=1e-4)


def test_a_damaged_line_is_named(tmp_path: Path, images: np.ndarray) -> None:
    path = tmp_path / "model.onnx"
    metadata = export_onnx(recogniser(), path, CONFIG, images)
    assert metadata["local_score"] == {"scale": 13.0, "shift": -4.0}
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"oaml": json.dumps(metadata | {"local_score": {"scale": 13.0}})})
    onnx.save(graph, path)
    with pytest.raises(ExportError, match=r"local_score, is damaged: it lacks shift"):
        OamlOnnx(path)
