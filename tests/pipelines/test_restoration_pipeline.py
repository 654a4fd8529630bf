"""The restoration branch: compiled to the committed bytes, and run on this machine as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from pipelines.compile import RESTORATION

RUN = """
import sys
from kfp import local
from pipelines.restoration_pipeline import restoration_pipeline
local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=sys.argv[2], raise_on_error=True)
task = restoration_pipeline()(config=open(sys.argv[1]).read())
print("ran")
"""


def test_compiling_gives_the_committed_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "pipelines.compile", str(tmp_path / "oaml_pipeline.yaml")], check=True)
    assert (tmp_path / RESTORATION.name).read_bytes() == RESTORATION.read_bytes(), "run `make compile`"
    spec = next(yaml.safe_load_all(RESTORATION.read_text()))
    assert spec["root"]["dag"]["tasks"]["evaluate-prior"]["dependentTasks"] == ["train-prior"]


def test_the_branch_runs_on_this_machine(tmp_path: Path) -> None:
    tiles = tmp_path / "tiles"
    tiles.mkdir()
    rows = [
        {"id": f"t{i}", "file": f"t{i}.pt", "is_clean": True, "split": "test" if i > 5 else "train"} for i in range(8)
    ]
    for row in rows:
        torch.save(torch.rand(3, 8, 8) * 2 - 1, tiles / str(row["file"]))
    (tiles / "metadata.json").write_text(json.dumps(rows))
    restoration = {"tiles": str(tiles), "tile_size": 8, "model_channels": 4, "channel_mult": [1, 2], "num_blocks": 1}
    restoration |= {"attention_levels": [], "batch": 4, "total_kimg": 0.008, "kimg_per_tick": 0.004, "steps": 2}
    recipe = tmp_path / "config.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {
                "name": "tiny",
                "store": str(tmp_path / "store"),
                "work_dir": str(tmp_path / "work"),
                "data": {"num_workers": 0},
                "tracking": {"wandb": "off"},
                "restoration": restoration | {"samples": 2, "test_tiles": 1},
            }
        )
    )
    program = tmp_path / "run.py"
    program.write_text(RUN)
    done = subprocess.run(
        [sys.executable, str(program), str(recipe), str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((tmp_path / "store" / "priors").glob("*/restoration-*/restoration.html"))
