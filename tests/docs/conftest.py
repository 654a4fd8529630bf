"""A folder as the examples of the documentation expect it: two faces, a gallery, a model and a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import write_untrained

from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.training.trained import load_trained

CONFIG = Config(model=ModelConfig(arch="ir_mini", width=4))


@pytest.fixture
def examples_folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    drawn = draw_faces(draw_identities(2, generator), np.array([0, 1]), generator).images
    (tmp_path / "gallery").mkdir()
    for name, face in zip("ab", drawn, strict=True):
        Image.fromarray(face).save(tmp_path / f"{name}.png")
        Image.fromarray(face).save(tmp_path / "gallery" / f"person_{name}.png")
    trained = load_trained(write_untrained(CONFIG, tmp_path / "best.ckpt"))
    export_onnx(trained.recogniser, tmp_path / "model.onnx", CONFIG, drawn)
    export_matcher_onnx(trained.recogniser, tmp_path / "model.matcher.onnx", CONFIG, drawn)
    return tmp_path
