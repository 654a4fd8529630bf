"""Workers that are forked are those that torchrun started in all that counts, and end with all whom they work for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from oaml_core.config import Config
from oaml_core.settings import config_to_yaml
from oaml_core.training.fork_server import fork_server, serve
from oaml_core.training.worker_entry import LAUNCHER_VARIABLE, SERVER_VARIABLE

TESTS = Path(__file__).parents[1]
MODULE = "training.forked_worker"
PATH = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
"""Lets the server and its workers import that."""


class Run:
    """A run whose worker is started as torchrun does it."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.variables = variables
        (folder / "config.yaml").write_text(config_to_yaml(Config()))

    def start(self, ends: str, **variables: str) -> subprocess.Popen[str]:
        (self.folder / "ends").write_text(ends)
        command = [sys.executable, "-m", "oaml_core.training.worker_entry", MODULE]
        command += ["--config", str(self.folder / "config.yaml"), "--dataset", str(self.folder)]
        return subprocess.Popen(
            [*command, "--run-dir", str(self.folder), "--store-prefix", "runs/x"],
            env=os.environ | self.variables | {LAUNCHER_VARIABLE: str(os.getppid())} | variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def worker(self) -> dict[str, Any]:
        """Return what the worker has written down, and remove its file."""
        (path,) = wait_for(lambda: [path for path in self.folder.glob("*.json") if path.stat().st_size])
        known: dict[str, Any] = wait_for(lambda: read(path))
        path.unlink()
        return known


def read(path: Path) -> Any:
    with suppress(ValueError):
        return json.loads(path.read_text())


def wait_for(condition: Callable[[], Any]) -> Any:
    for _ in range(2400):
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about within two minutes")


def gone(process: int) -> bool:
    with suppress(psutil.Error):
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    deep = tmp_path_factory.mktemp("server").joinpath(*["deep" * 10] * 3)  # longer than a socket's address may be
    deep.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr("tempfile.tempdir", str(deep))
        variables = stack.enter_context(fork_server(MODULE, os.environ | PATH))
        patch.undo()
        yield variables | PATH


@pytest.fixture
def run(server: dict[str, str], tmp_path: Path) -> Run:
    return Run(tmp_path, server)


def test_a_forked_worker_has_all_that_torchrun_gave(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    shadow = run.start("well", RANK="3", TMPDIR=str(tmp_path / "tmp"), SAID="ünïcode\udcff")
    known = run.worker()
    said, errors = shadow.communicate(timeout=120)
    assert (shadow.returncode, said, errors) == (0, "out\n", "err\n")
    assert known["process"] == known["group"] != shadow.pid
    assert psutil.Process(known["parent"]).cmdline()[2] == "oaml_core.training.fork_server"
    assert (known["folder"], known["temporary"]) == (str(tmp_path), str(tmp_path / "tmp"))
    assert (known["variables"]["RANK"], known["prefix"]) == ("3", "runs/x")
    assert known["variables"]["SAID"] == "ünïcode\udcff"


def test_workers_end_as_their_shadows_do_and_the_other_way(run: Run) -> None:
    shadow = run.start("fails")
    run.worker()
    _, errors = shadow.communicate(timeout=120)
    assert shadow.returncode == 1
    assert "KeyError: 'a fault'" in errors

    shadow = run.start("asked")
    run.worker()
    shadow.send_signal(signal.SIGTERM)
    assert shadow.wait(60) == 143

    shadow = run.start("asked")
    known = run.worker()
    os.kill(known["process"], signal.SIGKILL)
    assert shadow.wait(60) == -signal.SIGKILL

    shadow = run.start("asked")
    known = run.worker()
    os.kill(known["process"], signal.SIGSTOP)  # it could not even answer
    shadow.kill()
    wait_for(lambda: gone(known["process"]))


def test_many_workers_at_once_know_nothing_of_one_another(run: Run) -> None:
    shadows = [run.start("asked", RANK=str(rank)) for rank in range(4)]
    paths = wait_for(lambda: [*run.folder.glob("*.json")][3:] and [*run.folder.glob("*.json")])
    known = [wait_for(lambda path=path: read(path)) for path in paths]
    assert {each["variables"]["RANK"] for each in known} == set("0123")
    first = known[0]
    descriptors = [os.readlink(f"/proc/{first['process']}/fd/{number}") for number in range(3)]
    assert descriptors[0] != descriptors[1] != descriptors[2]
    shadows[0].kill()
    by_rank = {each["variables"]["RANK"]: each["process"] for each in known}
    wait_for(lambda: gone(by_rank["0"]))
    assert not any(gone(by_rank[rank]) for rank in "123")
    for shadow in shadows[1:]:
        shadow.send_signal(signal.SIGTERM)
    assert [shadow.wait(60) for shadow in shadows[1:]] == [143] * 3


def test_a_server_that_is_killed_takes_its_workers_along_and_the_next_do_without(tmp_path: Path) -> None:
    with fork_server(MODULE, os.environ | PATH) as variables:
        run = Run(tmp_path, variables | PATH)
        shadow = run.start("asked")
        known = run.worker()
        psutil.Process(known["parent"]).kill()
        assert shadow.wait(60) == -signal.SIGKILL
        wait_for(lambda: gone(known["process"]))
        alone = run.start("well")
        assert run.worker()["process"] == alone.pid
        assert alone.wait(60) == 0


def test_workers_import_by_themselves_where_the_server_cannot(tmp_path: Path) -> None:
    with fork_server("no.such.module", os.environ) as variables:
        run = Run(tmp_path, variables | PATH)
        shadow = run.start("well")
        assert run.worker()["process"] == shadow.pid
        assert shadow.wait(60) == 0


def test_a_user_can_do_without(tmp_path: Path) -> None:
    with fork_server(MODULE, {SERVER_VARIABLE: ""}) as variables:
        assert variables == {}


@pytest.mark.parametrize("at_work", ["a thread", "a GPU"])
def test_nothing_is_forked_from_a_process_with_a_thread_or_a_gpu(at_work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 2 if at_work == "a thread" else 1)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: at_work == "a GPU")
    with pytest.raises(SystemExit, match="a thread or a GPU is at work"):
        serve(socket.socket(socket.AF_UNIX).detach(), "oaml_core.training.worker")


def test_a_sandbox_that_forbids_watching_processes_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.pidfd_open", forbidden)
    with pytest.raises(PermissionError):
        serve(socket.socket(socket.AF_UNIX).detach(), "no.such.module")
