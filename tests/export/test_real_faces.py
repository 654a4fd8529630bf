"""On real faces: torch, the exported model and the evaluation give the same scores, and so the same accuracy."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from oaml_core.config import Config, EvaluateConfig, ModelConfig
from oaml_core.data.prepared.verification import open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.evaluation.verdict.evaluate import evaluate_model
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.export import OamlOnnx
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.inference.model_files import matcher_path
from oaml_core.models.recogniser import build_recogniser

SHARED = Path(os.environ.get("OAML_SHARED", Path(__file__).parents[3] / "shared"))
FACES = SHARED / "data" / "lfw112"
CONFIG = Config(
    model=ModelConfig(arch="ir_mini", width=8),
    evaluate=EvaluateConfig(occluders=("surgical",), block_shares=(), sides=("second",), far=(0.1,)),
)
PAIRS = slice(40, 80)
"""Of the first fold: half of them genuine."""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    if not (FACES / "lfw_val.bin").is_file():
        pytest.skip(f"{FACES} is absent: real faces are not part of the repository; OAML_SHARED says where they are")
    folder = tmp_path_factory.mktemp("verification")
    source = open_verification_source(LocalFolder(FACES), "lfw_val", "lfw_val.bin")
    write_verification(source, folder, image_size=112)
    whole = open_verification(folder, "lfw_val")
    return replace(
        whole,
        images=whole.images[2 * PAIRS.start : 2 * PAIRS.stop],
        issame=whole.issame[PAIRS],
        landmarks=None if whole.landmarks is None else whole.landmarks[2 * PAIRS.start : 2 * PAIRS.stop],
        identities=None if whole.identities is None else whole.identities[2 * PAIRS.start : 2 * PAIRS.stop],
    )


def test_exported_model_decides_like_the_evaluation(faces, tmp_path):
    torch.manual_seed(0)
    model = build_recogniser(CONFIG.model)
    evaluation = evaluate_model(model, {"lfw_val": faces}, CONFIG, examples=0)
    found_metrics = metrics(evaluation)
    path = tmp_path / "model.onnx"
    metadata = export_onnx(model, path, CONFIG, faces.images, metrics=found_metrics)
    export_matcher_onnx(model, matcher_path(path), CONFIG, faces.images)
    exported = OamlOnnx(path)

    found = [exported.compare(faces.images[2 * i], faces.images[2 * i + 1], far=0.1) for i in range(len(faces))]

    clean = evaluation.sets["lfw_val"].conditions["clean"].scores
    combined = np.array([one.combined_score for one in found])
    np.testing.assert_allclose([one.global_score for one in found], clean["global"].values, atol=1e-4)
    np.testing.assert_allclose(combined, clean["combined"].values, atol=1e-3)
    assert ten_fold_any_range(combined, faces.issame).accuracy == pytest.approx(clean["combined"].accuracy)
    assert metadata["largest_difference"]["embedding"] < CONFIG.export.tolerance


def test_covering_real_faces_changes_the_scores(faces):
    torch.manual_seed(0)
    evaluation = evaluate_model(build_recogniser(CONFIG.model), {"lfw_val": faces}, CONFIG, examples=4)
    conditions = evaluation.sets["lfw_val"].conditions
    assert 0.1 < conditions["surgical"].covered_share < 0.6
    assert not np.allclose(conditions["surgical"].scores["global"].values, conditions["clean"].scores["global"].values)
    assert len(evaluation.examples) >= 2
