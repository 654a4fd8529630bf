"""The examples of docs/library.md, run in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from untrained import write_untrained

from oaml_core.config import Config, ModelConfig
from oaml_core.data.sources.synthetic_faces import draw_faces, draw_identities
from oaml_core.export.onnx_export import export_matcher_onnx, export_onnx
from oaml_core.training.trained import load_trained

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
CONFIG = Config(model=ModelConfig(arch="ir_mini", width=4))


def test_every_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    drawn = draw_faces(draw_identities(2, generator), np.array([0, 1]), generator).images
    (tmp_path / "gallery").mkdir()
    for name, face in zip("ab", drawn, strict=True):
        Image.fromarray(face).save(tmp_path / f"{name}.png")
        Image.fromarray(face).save(tmp_path / "gallery" / f"person_{name}.png")
    trained = load_trained(write_untrained(CONFIG, tmp_path / "best.ckpt"))
    export_onnx(trained.recogniser, tmp_path / "model.onnx", CONFIG, drawn)
    export_matcher_onnx(trained.recogniser, tmp_path / "model.matcher.onnx", CONFIG, drawn)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(examples) >= 6
    for example in examples:
        exec(compile(example, "docs/library.md", "exec"), names)
    assert "person_b" in capsys.readouterr().out
