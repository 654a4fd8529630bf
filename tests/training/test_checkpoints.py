"""Checkpoints are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from oaml_core.errors import CheckpointError
from oaml_core.store import open_store
from oaml_core.training.checkpoints import CheckpointKeeper, read_checkpoint, write_checkpoint

WRITER = """
import sys
from pathlib import Path
import torch
from oaml_core.training.checkpoints import CheckpointKeeper
keeper = CheckpointKeeper(Path(sys.argv[1]), None, "", 3)
for step in range(1, 10_000):
    keeper.save({"config": "x", "weights": torch.full((400_000,), float(step))}, step)
    print(step, flush=True)
"""


def state(step: int) -> dict[str, object]:
    return {"config": "x", "weights": torch.full((10,), float(step))}


def test_killed_at_any_moment_the_newest_checkpoint_loads(tmp_path: Path) -> None:
    moments = random.Random(0)
    for number in range(10):
        folder = tmp_path / str(number)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.readline()
        time.sleep(moments.uniform(0, 0.1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        keeper = CheckpointKeeper(folder, None, "", 3)
        name = keeper.newest()
        assert name is not None
        step = int(name.removeprefix("step-").removesuffix(".ckpt"))
        assert torch.equal(keeper.load(name)["weights"], torch.full((400_000,), float(step)))


def test_the_newest_few_and_the_best_stay(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path / "run", None, "", 2)
    for step in range(1, 6):
        keeper.save(state(step), step, best=step == 2)
    keeper.wait()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.ckpt",
        "step-0000000004.ckpt",
        "step-0000000005.ckpt",
    ]
    assert read_checkpoint(tmp_path / "run" / "best.ckpt")["weights"][0] == 2


def test_what_is_saved_is_the_state_at_that_moment(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path, None, "", 2)
    weights = torch.zeros(1_000_000)
    keeper.save({"config": "x", "weights": weights}, 1)
    weights += 1
    keeper.wait()
    assert not keeper.load("step-0000000001.ckpt")["weights"].any()


def test_another_machine_goes_on_from_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    here = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    for step in (1, 2, 3):
        here.save(state(step), step)
    here.wait()
    there = CheckpointKeeper(tmp_path / "there", store, "runs/a", 2)
    name = there.newest()
    assert name == "step-0000000003.ckpt"
    assert there.load(name)["weights"][0] == 3
    assert [info.key for info in store.list("runs/a/step-")] == [
        "runs/a/step-0000000002.ckpt",
        "runs/a/step-0000000003.ckpt",
    ]


def test_a_full_disk_is_a_warning_and_the_last_good_one_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = CheckpointKeeper(tmp_path / "run", None, "", 2)
    keeper.save(state(1), 1)
    keeper.wait()
    (tmp_path / "run").rename(tmp_path / "kept")
    (tmp_path / "run").write_text("a file where the folder was: nothing can be written below it")
    with caplog.at_level(logging.WARNING):
        keeper.save(state(2), 2)
        keeper.wait()
    assert "Training goes on" in caplog.text
    assert read_checkpoint(tmp_path / "kept" / "step-0000000001.ckpt")["weights"][0] == 1


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "step-0000000001.ckpt"
    write_checkpoint(state(1), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-0000000001\.ckpt cannot be read"):
        read_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not an OAML checkpoint"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
