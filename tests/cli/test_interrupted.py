"""Ctrl-C, which the terminal sends to all processes of a command, and signals that ask it to end: one line, the exit
code of the signal, nothing left behind.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from untrained import write_exported_untrained

from oaml_core.cli import main
from oaml_core.cli.program import COMMANDS
from oaml_core.config import Config, ModelConfig
from oaml_core.orderly_end import ASKING
from oaml_core.store.local_file import is_temporary

FEW = ("--data.synthetic_identities", "40", "--data.num_workers", "1", "--tracking.wandb", "off")
TINY = ("--model.arch", "ir_18", "--data.batch_size", "8", "--train.nproc", "1")
INTERRUPTED_AT = {
    "prepare": (("prepare",), "check"),
    "train": (("train", *TINY), "loss"),
    "evaluate": (("evaluate", "--backbone", "model.onnx"), "batches of pairs"),
}
"""Command line, and words of its log after which it is interrupted."""


LINES = {
    signal.SIGINT: "oaml: interrupted; nothing is half-written, the same command goes on.\n",
    signal.SIGTERM: "oaml: asked to end; nothing is half-written, the same command goes on.\n",
    signal.SIGHUP: "oaml: asked to end; nothing is half-written, the same command goes on.\n",
}


@contextmanager
def own_handlers(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Signals as a program finds them at its start; whoever runs tests may have set others. They must be back."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
        assert {number: signal.getsignal(number) for number in handlers} == handlers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def as_started_by_hand() -> None:
    """Let a child hear what tests in the background, or under nohup, do not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


every_signal = pytest.mark.parametrize("number", LINES)


@every_signal
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_alike(
    command: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        signal.raise_signal(number)
        return 0

    monkeypatch.setitem(COMMANDS, command, COMMANDS[command]._replace(options=None, run=interrupted))
    handlers = {signal.SIGINT: signal.default_int_handler} | dict.fromkeys(ASKING, signal.SIG_DFL)
    with own_handlers(handlers), pytest.raises(SystemExit) as end:
        main([command])
    assert end.value.code == 128 + number
    assert capsys.readouterr() == ("", LINES[number])


def test_torch_says_nothing_after_the_last_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Interrupted while it is imported, torch would tell statistics of its caches when the process ends."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger("torch"), "level", logging.NOTSET)
    with pytest.raises(SystemExit):
        main(["--version"])
    assert not logging.getLogger("torch").isEnabledFor(logging.INFO)


UP = "import os, sys\nos.write(1, b'.')\nfrom oaml_core.cli import main\nmain(sys.argv[1:])"
"""What the console script does, after it has said that the interpreter is up."""
AT_IMPORT = """
import importlib, os, signal, sys

class Interrupter:
    def find_spec(name, path=None, target=None):
        if name == sys.argv[2]:
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Interrupter)
importlib.import_module(sys.argv[3]).main(sys.argv[4:])
"""
IN_CALLBACK = """
import os, sys, time
from oaml_core.orderly_end import end_in_order

class Interrupter:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

def program():
    Interrupter()
    time.sleep(1)

end_in_order(program)
"""


def started(program: str, *words: str, **streams: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        start_new_session=True,
        preexec_fn=as_started_by_hand,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize(
    ("program", "module"),
    [
        ("oaml_core.cli", "oaml_core.cli.program"),
        ("oaml_core.cli", "logging"),
        ("oaml_core.cli", "oaml_core.config.data"),
        ("oaml_core.cli", "oaml_core.cli.machine_commands"),
        ("oaml_core.cli", "jsonargparse"),
        ("pipelines.run_local", "oaml_core.config"),
        ("pipelines.run_local", "yaml"),
    ],
)
@every_signal
def test_an_interrupted_import_says_one_line(number: int, program: str, module: str) -> None:
    process = started(AT_IMPORT, str(int(number)), module, program, "prepare", "--no_such_option", "1")
    assert process.communicate() == ("", LINES[number])
    assert process.returncode == 128 + number


@every_signal
def test_an_interrupt_in_a_callback_is_not_lost(number: int) -> None:
    """Python tells of an exception in a callback, and goes on. Imports run callbacks all the time."""
    process = started(IN_CALLBACK, str(int(number)))
    assert process.communicate() == ("", LINES[number])
    assert process.returncode == 128 + number


@pytest.mark.parametrize("seconds", [0.05, 0.1, 0.2, 0.5, 1.0])
def test_an_interrupt_in_the_first_second_says_one_line(seconds: float, tmp_path: Path) -> None:
    places = ("--work_dir", str(tmp_path / "work"), "--store", str(tmp_path / "store"))
    process = started(UP, "train", *TINY, *FEW, *places)
    assert process.stdout is not None
    assert process.stdout.read(1) == "."
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()
    assert "Traceback" not in "".join(said)
    assert said[1].endswith(LINES[signal.SIGINT])
    assert process.returncode == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_error(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    os.close(reader)
    process = started(UP.replace("1", "2"), "--help", stdout=writer)
    os.close(writer)
    assert process.communicate()[1] == "."
    assert process.returncode == 141


def test_another_broken_pipe_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that has gone breaks its connection; the output is read on."""

    def cut_off(*_: object) -> int:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setitem(COMMANDS, "doctor", COMMANDS["doctor"]._replace(options=None, run=cut_off))
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    assert end.value.code == 1
    assert "at the other end" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room_is_told(unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with open("/dev/full", "w") as full:
        process = started(UP.replace("1", "2"), "--help", stdout=full.fileno())
    said = process.communicate()[1]
    assert "disk is full" in said
    assert "Exception ignored" not in said
    assert process.returncode == 1


KEPT = (".ses", "torchinductor_")
"""Beginnings of names that stay in the folder for temporary files: a library's file, and compiled kernels."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a short name, as sockets need it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "number"),
    [*((command, signal.SIGINT) for command in INTERRUPTED_AT), ("train", signal.SIGHUP), ("evaluate", signal.SIGTERM)],
)
def test_an_interrupted_command_says_one_line_and_leaves_nothing(
    command: str, number: int, tmp_path: Path, temporary: Path
) -> None:
    words, moment = INTERRUPTED_AT[command]
    places = ("--work_dir", str(tmp_path / "work"), "--store", str(tmp_path / "store"))
    write_exported_untrained(Config(model=ModelConfig(arch="ir_mini", width=4)), tmp_path)
    environment = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "oaml_core.cli", *words, *FEW, *places],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=as_started_by_hand,
    )
    assert process.stdout is not None
    before = next((line for line in process.stdout if moment in line), "it ended before")
    os.killpg(process.pid, number)
    said = process.communicate()[0]
    assert process.returncode == 128 + number, before + said
    assert "Traceback" not in said
    assert said.splitlines(keepends=True)[-1] == LINES[number]
    assert [path.name for path in temporary.iterdir() if not path.name.startswith(KEPT)] == []
    assert [path for path in tmp_path.rglob("*") if is_temporary(path.name)] == []
