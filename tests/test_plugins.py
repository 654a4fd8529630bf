"""Parts from a package outside of OAML: found by name, trained with, evaluated and exported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from oaml_core.config import ModelConfig
from oaml_core.config.occluders import DRAWN
from oaml_core.data.batches.occluder_sheet import GAP, TOGETHER
from oaml_core.errors import ConfigError
from oaml_core.models.build import build_backbone, build_matcher
from oaml_core.registry import MATCHERS, POOLS, Registry

REPO = Path(__file__).parents[1]
GUIDE = (REPO / "docs" / "extending.md").read_text()
PARTS = {
    "model.arch": "four_convolutions",
    "model.head": "sphere_add",
    "model.matcher": "mean_cosine",
    "data.sampler": "in_order",
    "augment.occluders": "[eye_patch, surgical]",
    "evaluate.occluders": "[eye_patch]",
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installed package that holds the guide's examples."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "my_parts.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.S)))
    info = folder / "my_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-parts\nVersion: 1.0\n")
    points = re.search(r'\[project\.entry-points\."(oaml\.plugins)"\]\nmy_parts = "(\w+)"', GUIDE)
    assert points is not None
    (info / "entry_points.txt").write_text(f"[{points[1]}]\nmy_parts = {points[2]}\n")
    return folder


def oaml(plugin: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(plugin), str(REPO)])
    environment = os.environ | {"PYTHONPATH": path, "TEAM_ROOT": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "oaml_core.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=800)


@pytest.mark.slow
def test_a_model_of_foreign_parts_is_trained_evaluated_and_exported(plugin: Path, tmp_path: Path) -> None:
    common = ["--config", str(REPO / "configs" / "smoke.yaml"), "--store", "team://shelf", "--train.nproc", "1"]
    common += [word for key, name in PARTS.items() for word in (f"--{key}", name)]
    common += ["--data.synthetic_identities", "16", "--data.synthetic_pairs", "40"]
    trained = oaml(plugin, tmp_path, "train", *common)
    assert trained.returncode == 0, trained.stderr
    checkpoint = trained.stdout.split()[-1]
    assert checkpoint.startswith(f"file://{tmp_path / 'shelf'}")
    evaluated = oaml(plugin, tmp_path, "evaluate", *common, "--checkpoint", checkpoint)
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = next((tmp_path / "shelf").rglob("metrics.json"))
    (measured,) = json.loads(metrics.read_text())["sets"].values()
    assert set(measured["conditions"]) >= {"clean", "eye_patch"}
    gaps = [score["own"]["median_gap"] for one in measured["conditions"].values() for score in one["scores"].values()]
    assert len(gaps) >= 3
    assert all(isinstance(gap, float) for gap in gaps)
    assert "<th>median_gap</th>" in next((tmp_path / "shelf").rglob("report.html")).read_text()
    exported = oaml(plugin, tmp_path, "export", *common, "--checkpoint", checkpoint, "--metrics", str(metrics))
    assert exported.returncode == 0, exported.stderr
    assert list((tmp_path / "shelf").rglob("model.matcher.onnx"))


def test_a_foreign_occluder_is_shown_on_the_sheet(plugin: Path, tmp_path: Path) -> None:
    done = oaml(plugin, tmp_path, "occluders", "preview", "--out", "sheet.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "sheet.png") as sheet:
        rows = round((sheet.height - 20) / (112 + GAP))
    assert rows == len(DRAWN) + 1 + len(TOGETHER)


def test_a_mistyped_foreign_name_is_answered_with_the_nearest(plugin: Path, tmp_path: Path) -> None:
    done = oaml(plugin, tmp_path, "train", "--model.matcher", "mean_cosin")
    assert done.returncode == 2
    assert "Did you mean 'mean_cosine'?" in done.stderr


def test_a_matcher_derived_from_pooled_takes_over_the_embedding_and_changes_its_part_alone(
    plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = next(code for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S) if "class PooledUpper" in code)
    monkeypatch.setattr(MATCHERS, "_found", dict(MATCHERS._found))
    exec(block, {"__name__": "my_parts"})
    assert MATCHERS.has("pooled_upper", POOLS)
    backbone = build_backbone("ir_mini", image_size=112, width=8)
    upper, plain = (
        build_matcher(ModelConfig(matcher=name), backbone.channels, backbone.map_size, backbone).eval()
        for name in ("pooled_upper", "pooled")
    )
    shape = (2, backbone.channels, *backbone.map_size)
    maps, others = (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    half = torch.ones(2, 1, *backbone.map_size)
    half[:, :, backbone.map_size[0] // 2 :] = 0.5
    with torch.no_grad():
        torch.testing.assert_close(upper.match(maps, others), plain.match(maps, others, half, half))
        assert not torch.allclose(upper.match(maps, others), plain.match(maps, others))


def test_a_plugin_that_cannot_be_loaded_is_named(plugin: Path, tmp_path: Path) -> None:
    broken = tmp_path / "site"
    (broken / "broken-1.0.dist-info").mkdir(parents=True)
    (broken / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "broken-1.0.dist-info" / "entry_points.txt").write_text("[oaml.plugins]\nx = no_such_module\n")
    done = oaml(broken, tmp_path, "train", "--model.matcher", "none_such")
    assert done.returncode == 2
    assert "'x' of the package broken cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_is_registered_once() -> None:
    registry: Registry[type] = Registry("thing", {})
    registry.register("a")(int)
    registry.register("a")(int)
    with pytest.raises(ConfigError, match="already"):
        registry.register("a")(float)
    with pytest.raises(ConfigError, match="already"):
        MATCHERS.register("qaconv")(float)
