"""`make gpu-figures` runs dry: the same code with tiny sizes, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def figures(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_every_part_gives_figures(tmp_path: Path) -> None:
    done = figures(tmp_path / "gpu.json", "--tiny")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [part["error"] for part in found["figures"].values() if "error" in part] == []
    assert found["about"]["tiny"] is True
    parts = " ".join(found["figures"])
    for part in ("matrix products", "maxima 2 × 2", "maxima 3 × 3", "scores", "training ir_mini", "restoration"):
        assert part in parts
    for name, part in found["figures"].items():
        for figure, value in part.items():
            assert f"| {name} | {figure} |" in done.stdout
            assert value > 0 or figure.endswith(("MiB", "fused")), (name, figure)


def test_without_a_gpu_it_says_so_instead_of_measuring_a_cpu(tmp_path: Path) -> None:
    done = figures(tmp_path / "gpu.json")
    assert done.returncode != 0
    assert "No CUDA device" in done.stderr
    assert not (tmp_path / "gpu.json").exists()
