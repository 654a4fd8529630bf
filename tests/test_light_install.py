"""`pip install oaml` without extras: small, without torch, and enough to compare faces."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from untrained import write_exported_untrained

from oaml_core.config import Config, ModelConfig

REPO = Path(__file__).parents[1]
LARGEST = 350 * 2**20
"""Bytes of an environment for inference."""
CONFIG = Config(model=ModelConfig(arch="ir_mini", width=4))


def interpreters() -> dict[str, str]:
    """This interpreter, and the other supported ones that are at hand, by version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in ("3.11", "3.12", "3.13"):
        places = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"{version}.*/bin/python")))]
        for place in filter(None, places):
            told = subprocess.run([place, "--version"], capture_output=True, text=True, check=False)
            if told.returncode == 0 and f"Python {version}." in told.stdout:
                found.setdefault(version, place)
    return found | {f"{sys.version_info[0]}.{sys.version_info[1]}": sys.executable}


INTERPRETERS = interpreters()


@pytest.fixture(scope="module", params=sorted(INTERPRETERS))
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light") / "venv"
    subprocess.run([INTERPRETERS[request.param], "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "-c", REPO / "constraints.txt", REPO]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        if "No matching distribution" in done.stderr or "connection" in done.stderr.lower():
            pytest.skip(f"pip reaches no package index: {reason}")
        pytest.fail(done.stderr)
    return python


@pytest.mark.slow
def test_inference_installs_small_and_compares_faces_without_torch(python: Path, tmp_path: Path) -> None:
    write_exported_untrained(CONFIG, tmp_path)

    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python.with_name("oaml"), *words], cwd=tmp_path, env=environment, capture_output=True,
                              text=True, check=False)  # fmt: skip

    matched = run("match", "--aligned", "a.png", "b.png", "--onnx", "model.onnx")
    assert matched.returncode == 0, matched.stderr
    assert (tmp_path / "match.png").is_file()
    unaligned = run("match", "a.png", "b.png", "--onnx", "model.onnx")
    assert unaligned.returncode == 0, unaligned.stderr
    absent = subprocess.run([python, "-c", "import torch"], env=environment, capture_output=True, check=False)
    assert absent.returncode != 0
    refused = run("train", "--config", "smoke")
    assert refused.returncode == 1
    assert "pip install 'oaml[train]'" in refused.stderr
    assert "batch_size: 512" in run("train", "--config", "ir50_ms1mv2", "--print-config").stdout
    site = next((python.parents[1] / "lib").iterdir()) / "site-packages"
    assert not [name for name in ("components", "pipelines") if (site / name).exists()]
    size = sum(path.stat().st_size for path in python.parents[1].rglob("*") if path.is_file() and not path.is_symlink())
    assert size < LARGEST
