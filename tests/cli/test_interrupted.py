"""Ctrl-C, which the terminal sends to all processes of a command: one line, exit code 130, nothing left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core import cli
from oaml_core.store.local_file import is_temporary

FEW = ("--data.synthetic_identities", "40", "--data.num_workers", "1", "--tracking.wandb", "off")
TINY = ("--model.arch", "ir_18", "--data.batch_size", "8", "--train.nproc", "1")
COMMANDS = {
    "prepare": (("prepare",), "check"),
    "train": (("train", *TINY), "loss"),
}
"""Command line, and words of its log after which it is interrupted."""


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_ends_alike(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, command, cli.COMMANDS[command]._replace(options=None, run=interrupted))
    with pytest.raises(SystemExit) as end:
        cli.main([command])
    assert end.value.code == 130
    assert capsys.readouterr() == ("", "oaml: interrupted; nothing is half-written, the same command goes on.\n")


def test_torch_says_nothing_after_the_last_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Interrupted while it is imported, torch would tell statistics of its caches when the process ends."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger("torch"), "level", logging.NOTSET)
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert not logging.getLogger("torch").isEnabledFor(logging.INFO)


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
