"""Ctrl-C, which the terminal sends to all processes of a command: one line, exit code 130, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.store.local_file import is_temporary

FEW = ("--data.synthetic_identities", "40", "--data.num_workers", "1", "--tracking.wandb", "off")
TINY = ("--model.arch", "ir_18", "--data.batch_size", "8", "--train.nproc", "1")
COMMANDS = {
    "prepare": (("prepare",), "check"),
    "train": (("train", *TINY), "loss"),
}
"""Command line, and words of its log after which it is interrupted."""


KEPT = (".ses", "torchinductor_")
"""Beginnings of names that stay in the folder for temporary files: a library's file, and compiled kernels."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short name, as sockets need it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_says_one_line_and_leaves_nothing(command: str, tmp_path: Path, temporary: Path) -> None:
    words, moment = COMMANDS[command]
    places = ("--work_dir", str(tmp_path / "work"), "--store", str(tmp_path / "store"))
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "oaml_core.cli", *words, *FEW, *places],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    before = next((line for line in process.stdout if moment in line), "it ended before")
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130, before + said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("oaml: interrupted")
    assert [path.name for path in temporary.iterdir() if not path.name.startswith(KEPT)] == []
    assert [path for path in tmp_path.rglob("*") if is_temporary(path.name)] == []
