"""Libraries beside one another: a model that flatters none of them, every file and library, alike embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import runtime
from oaml_core.config import ModelConfig
from oaml_core.inference.backends import has_openvino
from oaml_core.models.recogniser import build_recogniser


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)


def test_no_normalisation_of_the_model_scales_all_channels_alike() -> None:
    torch.manual_seed(0)
    model = build_recogniser(ModelConfig(arch="ir_mini"))
    runtime.settle(model, noise(4))
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert norms
    for layer in norms:
        assert layer.running_var is not None
        assert (layer.weight / (layer.running_var + layer.eps).sqrt()).std() > 0.01
        assert layer.running_var.std() > 0
        assert layer.momentum == 0.1
    assert not model.training


def test_every_file_is_run_by_every_library_and_compared_with_the_whole_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "some_faces", lambda config, folder: (noise(8), noise(6)))
    rows = runtime.runtime("ir_mini", "", 4, 1, 2, compiled=False, folder=tmp_path)
    assert all(len(row) == len(runtime.COLUMNS) for row in rows)
    by_file = {file: [row for row in rows if row[0] == file] for file in ("fp32", "fp16", "int8", "–")}
    assert [len(found) for found in by_file.values()] == [2, 2, 2, 1] if has_openvino() else [1, 1, 1, 1]
    assert by_file["–"][0][3] == 1.0
    assert by_file["–"][0][4:] == [None, None, None]
    assert by_file["fp32"][0][1] == "onnxruntime"
    assert by_file["fp32"][0][4] == by_file["fp32"][0][5] == 0.0
    unlike = [row[column] for row in by_file["int8"] for column in (4, 5)]
    assert all(isinstance(value, float) and 0 < value < 0.2 for value in unlike)
    assert all(isinstance(row[2], float) and row[2] > 0 for row in rows)
    assert all(row[6] in ("yes", "no") for row in rows if row[0] != "–")
