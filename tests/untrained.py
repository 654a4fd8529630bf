"""A checkpoint that nobody trained: the form of a model without its hours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from oaml_core.config import Config
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import config_to_yaml
from oaml_core.training.checkpoints import write_checkpoint
from oaml_core.training.trained import load_trained


def write_untrained(config: Config, path: Path) -> Path:
    """Write a checkpoint of the recogniser that `config` describes, with its first weights."""
    torch.manual_seed(0)
    weights = {f"recogniser.{name}": value for name, value in build_recogniser(config.model).state_dict().items()}
    write_checkpoint(
        {"config": config_to_yaml(config), "module": weights, "fingerprint": "f", "position": {"step": 1}}, path
    )
    return path


def write_exported_untrained(config: Config, folder: Path) -> None:
    """Write two drawn faces, `a.png` and `b.png`, the checkpoint `best.ckpt`, and its `model.onnx` with its matcher."""
    generator = np.random.default_rng(0)
    drawn = draw_faces(draw_identities(1, generator), np.zeros(2, dtype=np.int64), generator).images
    for name, face in zip("ab", drawn, strict=True):
        Image.fromarray(face).save(folder / f"{name}.png")
    trained = load_trained(write_untrained(config, folder / "best.ckpt"))
    export_onnx(trained.recogniser, folder / "model.onnx", config, drawn)
    export_matcher_onnx(trained.recogniser, folder / "model.matcher.onnx", config, drawn)
