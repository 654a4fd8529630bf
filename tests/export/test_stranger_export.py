"""Scores measured by strangers: from the faces of training to the exported model, the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from test_local_embedding import recogniser
from test_onnx_export import CONFIG, trained_recogniser

from oaml_core.config import EvaluateConfig
from oaml_core.errors import ConfigError, ExportError
from oaml_core.evaluation.own_faces.checkpoint_comparer import CheckpointComparer
from oaml_core.evaluation.scoring import stranger_faces
from oaml_core.evaluation.scoring.conditions import CLEAN
from oaml_core.evaluation.scoring.scores import score_conditions
from oaml_core.evaluation.scoring.stranger_faces import local_line, strangers_among
from oaml_core.evaluation.verdict.judge import judge_set
from oaml_core.evaluation.verdict.metrics_json import metrics
from oaml_core.evaluation.verdict.results import Evaluation
from oaml_core.export.onnx_export import export_onnx
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.settings import load_config

PEOPLE, EACH = 24, 2


@pytest.fixture
def images() -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (80, 14, 14, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


class Faces(SimpleNamespace):
    """Faces of training that remember which of them were read."""

    def __init__(self) -> None:
        super().__init__(num_identities=PEOPLE, rows=[])
        self.labels = np.random.default_rng(0).permutation(np.repeat(np.arange(PEOPLE), EACH))

    def __len__(self) -> int:
        return len(self.labels)

    def read_batch(self, rows: list[int]) -> torch.Tensor:
        self.rows += rows
        drawn = [np.random.default_rng(row).integers(0, 256, (3, 112, 112), dtype=np.uint8) for row in rows]
        return torch.from_numpy(np.stack(drawn))


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(stranger_faces, "FEWEST", 8)
    return Faces()


def test_one_face_of_each_person_is_described_and_always_the_same(faces: Any) -> None:
    first = strangers_among(recogniser(), faces, 20)
    rows = faces.rows.copy()
    faces.rows.clear()
    second = strangers_among(recogniser(), faces, 20)
    assert first is not None
    assert second is not None
    assert first.faces == 20
    assert len(set(faces.labels[rows])) == 20
    assert faces.rows == rows
    assert (first.covariance == second.covariance).all()
    everybody = strangers_among(recogniser(), faces, 5000)
    assert everybody is not None
    assert everybody.faces == PEOPLE


def test_scores_stay_plain_where_nothing_can_be_measured(faces: Any) -> None:
    assert strangers_among(recogniser(), faces, 0) is None
    assert strangers_among(recogniser(), faces, 7) is None
    assert strangers_among(trained_recogniser(), faces, 20) is None
    assert local_line(trained_recogniser()) == (1.0, 0.0)
    faces.num_identities = 7
    assert strangers_among(recogniser(), faces, 20) is None


def test_the_exported_model_measures_as_the_evaluation_did(faces: Any, images: np.ndarray, tmp_path: Path) -> None:
    model, path = recogniser(), tmp_path / "model.onnx"
    strangers = strangers_among(model, faces, PEOPLE)
    assert strangers is not None
    scored = score_conditions(model, images, [CLEAN], strangers=strangers)
    issame = np.arange(40) % 2 == 0
    config = EvaluateConfig(far=(0.1,))
    judged = judge_set("set", scored, issame, config, strangers=strangers, line=local_line(model))
    expected = judged.conditions["clean"].scores["combined"].values
    plain = judge_set("set", scored, issame, config).conditions["clean"].scores["combined"].values
    assert np.abs(expected / np.std(expected) - plain / np.std(plain)).max() > 0.01

    measured = metrics(Evaluation({"set": judged}, strangers=strangers))
    measured = json.loads(json.dumps(measured))
    export_onnx(model, path, CONFIG, images, metrics=measured)
    for comparer in (OamlOnnx(path), CheckpointComparer(model, 112, measured)):
        found = comparer.scores(comparer.records(images[0::2]), comparer.records(images[1::2]))
        assert found.combined_score is not None
        np.testing.assert_allclose(found.combined_score, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
        alone = comparer.scores(comparer.records(images[:1]), comparer.records(images[1::2]))
        assert alone.combined_score is not None
        assert alone.combined_score[0] == pytest.approx(found.combined_score[0], rel=1e-4)
        assert alone.combined_score.shape == (40,)


def test_damaged_strangers_of_a_model_are_named(faces: Any, images: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    metadata = export_onnx(recogniser(), path, CONFIG, images)
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"oaml": json.dumps(metadata | {"strangers": {"faces": 3}})})
    onnx.save(graph, path)
    with pytest.raises(ExportError, match=r"strangers, is damaged: strangers cannot be read"):
        OamlOnnx(path)


def test_a_negative_number_of_people_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.strangers is -1"):
        load_config("smoke", ["--evaluate.strangers", "-1"])
