"""An exported model, a gallery and a client that the tests of the service share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from service_client import MODEL, started
from untrained import write_untrained

from oaml_core.config import Config, ModelConfig
from oaml_core.export.onnx_export import export_onnx
from oaml_core.inference.gallery.database import Gallery
from oaml_core.training.trained import load_trained


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained recogniser as `model.onnx`."""
    folder, config = tmp_path_factory.mktemp("model"), Config(model=ModelConfig(arch="ir_mini", width=4))
    trained = load_trained(write_untrained(config, folder / "best.ckpt"))
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    export_onnx(trained.recogniser, folder / "model.onnx", config, faces)
    return folder / "model.onnx"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """Return an open gallery of `MODEL`, without people."""
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        yield opened


@pytest.fixture
def client(gallery: Gallery) -> Iterator[TestClient]:
    """Return a client with the key of an administrator."""
    with started(gallery) as running:
        running.headers["X-API-Key"] = "a"
        yield running
