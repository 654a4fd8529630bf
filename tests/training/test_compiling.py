"""Whether torch.compile can work is said before a run begins."""

from __future__ import annotations

import shutil
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from oaml_core.config import ModelConfig, TrainConfig
from oaml_core.errors import ConfigError
from oaml_core.models.recogniser import build_recogniser
from oaml_core.settings import load_config
from oaml_core.training.compiling import compiles, obstacle_to_compiling

CPU, GPU = torch.device("cpu"), torch.device("cuda")
here = pytest.mark.skipif(obstacle_to_compiling() is not None, reason="this machine has no compiler")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folder that is all of PATH: a machine without compilers."""
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@here
@pytest.mark.parametrize(
    ("wanted", "device", "expected"),
    [(False, GPU, False), ("auto", CPU, False), ("auto", GPU, True), (True, CPU, True), (True, GPU, True)],
)
def test_auto_compiles_on_a_gpu_alone(wanted: bool | Literal["auto"], device: torch.device, expected: bool) -> None:
    assert compiles(wanted, device) is expected


def test_without_a_compiler_auto_goes_on_and_on_is_refused(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert compiles("auto", GPU) is False
    assert "there is no C compiler" in caplog.text
    with pytest.raises(ConfigError, match=r"train\.compile is on, but there is no C compiler .*apt-get install gcc"):
        compiles(True, GPU)
    assert compiles(False, GPU) is False


def test_a_compiler_without_headers_is_no_compiler(bare: Path) -> None:
    gcc = bare / "gcc"
    gcc.write_text("#!/bin/sh\necho 'fatal error: Python.h: No such file or directory' >&2\nexit 1\n")
    gcc.chmod(0o755)
    assert (
        obstacle_to_compiling()
        == f"{gcc} cannot compile a module of Python: fatal error: Python.h: No such file or directory"
    )


@pytest.mark.parametrize(("word", "value"), [("on", True), ("off", False), ("true", True), ("auto", "auto")])
def test_recipes_and_options_spell_it_as_people_do(tmp_path: Path, word: str, value: bool | str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"train: {{compile: {word}}}\n")
    assert load_config(recipe).train.compile == value
    assert load_config(None, ["--train.compile", word]).train.compile == value
    assert TrainConfig().compile is False


def test_the_layers_that_training_passes_through_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiled.append(part))

    whole = build_recogniser(ModelConfig(arch="ir_mini", width=4))
    whole.compile_parts()
    assert compiled == [whole.visibility_head, whole.backbone]

    compiled.clear()
    adapted = build_recogniser(ModelConfig(arch="ir_mini", width=4, freeze_backbone=True, local_layers=1))
    adapted.compile_parts()
    assert compiled == [adapted.local_layers, adapted.visibility_head, adapted.backbone]

    compiled.clear()
    adapted.learns_locally_alone = True
    lent: list[Any] = []
    monkeypatch.setattr(torch, "compile", lambda way: lent.append(way) or way)
    adapted.compile_parts()
    assert compiled == [adapted.local_layers, adapted.visibility_head]
    assert lent == [adapted.backbone.input_of_last]


def test_a_copy_of_a_compiled_recogniser_passes_its_own_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: None)
    monkeypatch.setattr(torch, "compile", lambda way: way)
    recogniser = build_recogniser(ModelConfig(arch="ir_mini", width=4, freeze_backbone=True, local_layers=1)).train()
    recogniser.learns_locally_alone = True
    recogniser.compile_parts()
    faces = torch.rand(2, 3, 112, 112)
    before = recogniser(faces).feature_map
    other = deepcopy(recogniser)
    with torch.no_grad():
        for weight in other.backbone.parameters():
            weight.zero_()
    assert torch.equal(recogniser(faces).feature_map, before)
    assert not torch.equal(other(faces).feature_map, before)


@pytest.mark.slow
@here
def test_a_tiny_backbone_is_compiled(tmp_path: Path) -> None:
    """What the build of an image that may train runs."""
    done = subprocess.run(
        [sys.executable, "-m", "oaml_core.training.compiling"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "torch.compile works" in done.stdout
    bare = subprocess.run(
        [sys.executable, "-m", "oaml_core.training.compiling"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": str(tmp_path)},
    )
    assert bare.returncode == 1
    assert "no C compiler" in bare.stderr
    assert shutil.which("gcc", path=str(tmp_path)) is None
