"""A disk that takes no model is told as such, and not as a fault of the graph."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch
from full_disk import full_disk

from oaml_core.config import Config
from oaml_core.export.onnx_graph import write_graph
from oaml_core.export.variants import write_variant

FULL = 2_000


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(torch.nn.Linear(64, 64).eval(), {"input": torch.zeros(2, 64)}, ("embedding",), path, Config())
    return path


def test_a_graph(tmp_path: Path) -> None:
    model = torch.nn.Linear(64, 64).eval()
    with full_disk(FULL), pytest.raises(OSError, match="File too large") as told:
        write_graph(model, {"input": torch.zeros(2, 64)}, ("embedding",), tmp_path / "model.onnx", Config())
    assert told.value.errno == errno.EFBIG


def test_a_variant(graph: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.fp16.onnx"
    with full_disk(FULL), pytest.raises(OSError, match="File too large"):
        write_variant(graph, path, "fp16", np.zeros((2, 112, 112, 3), np.uint8), preprocessing=True)
    assert not path.exists()
