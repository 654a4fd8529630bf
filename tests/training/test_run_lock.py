"""Two launchers of one run, launchers that are killed, and what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from tiny_run import PATIENCE, TinyRun, wait_for, worker_pids

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.errors import HeldError
from oaml_core.stages import restore_stage, train_stage
from oaml_core.store import Store, open_store
from oaml_core.training import launcher, run_lock
from oaml_core.training.run_lock import only_launcher

RUN = "runs/night-1"
HOLD = """
import subprocess, sys
from pathlib import Path
from oaml_core.store import open_store
from oaml_core.training.run_lock import only_launcher
with only_launcher(Path(sys.argv[1]), open_store(sys.argv[2]), sys.argv[3]) as lock:
    child = subprocess.Popen(["sleep", "1000"], pass_fds=lock.descriptors)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*run_lock.SHARED, "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(run_lock, "PATIENCE", timedelta(0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def folder(tmp_path: Path, name: str = "here") -> Path:
    path = tmp_path / name
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture
def holder(tmp_path: Path, store: Store) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A process that holds the run, and its child, which inherits the lock."""
    command = [sys.executable, "-c", HOLD, str(folder(tmp_path)), store.uri, RUN]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = psutil.Process(int(process.stdout.readline()))
    yield process, child
    with suppress(psutil.NoSuchProcess):
        child.kill()
    process.kill()
    process.communicate()


def test_a_second_launcher_is_told_who_trains(tmp_path: Path, store: Store) -> None:
    said = rf"trained already.*process {os.getpid()}, since 20"
    with only_launcher(folder(tmp_path), store, RUN):
        with pytest.raises(HeldError, match=said), only_launcher(folder(tmp_path), store, RUN):
            pytest.fail("two launchers train one run")
        with pytest.raises(HeldError, match=said), only_launcher(folder(tmp_path, "elsewhere"), store, RUN):
            pytest.fail("two launchers train one run from two work folders")
        with only_launcher(folder(tmp_path, "other"), store, "runs/night-2"):
            pass
    with only_launcher(folder(tmp_path), store, RUN):
        pass
    assert list(store.list("leases/")) == [], "no ticket is left"


@pytest.mark.parametrize("place", ["here", "elsewhere"])
def test_a_killed_launcher_is_taken_over_at_once(
    holder: tuple[subprocess.Popen[str], psutil.Process], tmp_path: Path, store: Store, place: str
) -> None:
    process, child = holder
    with pytest.raises(HeldError, match=f"process {process.pid}"), only_launcher(folder(tmp_path, place), store, RUN):
        pytest.fail("it is held")
    child.kill()
    process.kill()
    process.wait()
    wait_for(lambda: not child.is_running())
    with only_launcher(folder(tmp_path, place), store, RUN) as lock:
        lock.require()


def test_a_killed_launcher_holds_the_run_until_its_agent_has_ended(
    holder: tuple[subprocess.Popen[str], psutil.Process], tmp_path: Path, store: Store
) -> None:
    process, child = holder
    process.kill()
    process.wait()
    with pytest.raises(HeldError, match="trained already"), only_launcher(folder(tmp_path), store, RUN):
        pytest.fail("an agent is at work still")
    child.kill()
    wait_for(lambda: not child.is_running())
    with only_launcher(folder(tmp_path), store, RUN):
        pass


def test_the_ticket_of_another_machine_is_not_taken_for_a_dead_one(tmp_path: Path, store: Store) -> None:
    foreign = "node-7, process 1, since 2026-01-01 00:00:00 UTC, node-7-boot-pid:[1]/1/1"
    store.write_bytes(f"leases/{RUN}/ticket", foreign.encode())
    said = "held by node-7, process 1, since 2026"
    with pytest.raises(HeldError, match=said), only_launcher(folder(tmp_path), store, RUN):
        pytest.fail("it is held")


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "night-1-worker-0:29400") for name in run_lock.SHARED), ("WORLD_SIZE", "2")]
)
def test_the_nodes_of_a_job_train_one_run_together(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with only_launcher(folder(tmp_path), store, RUN), only_launcher(folder(tmp_path), store, RUN):
        pass


def test_a_lost_lease_kills_the_workers_and_is_named(tmp_path: Path, store: Store) -> None:
    mark = f"{tmp_path}-workers"
    command = [sys.executable, "-c", "import time; time.sleep(1000)", mark]

    def is_at_work(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return process.status() != psutil.STATUS_ZOMBIE and mark in process.cmdline()
        return False

    with only_launcher(folder(tmp_path), store, RUN) as lock:
        assert lock.lease is not None
        lock.lease.lost.set()
        with pytest.raises(HeldError, match="somebody else may train it"):
            launcher._run_to_end(command, dict(os.environ), tmp_path / "error.txt", lock, lock.descriptors)
    wait_for(lambda: not any(map(is_at_work, psutil.Process().children(recursive=True))))


def test_a_lost_lease_ends_training_in_this_process(tmp_path: Path, store: Store) -> None:
    class Stopped(SystemExit):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with only_launcher(folder(tmp_path), store, RUN) as lock:
            assert lock.lease is not None
            lock.lease.lost.set()
            with pytest.raises(HeldError, match="has expired"), run_lock.stopped_when_lost(lock):
                wait_for(lambda: False)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_training_and_restoration_share_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))
    dataset = f"{config.store}/datasets/f1"

    class Dataset:
        directory = tmp_path

    monkeypatch.setattr(train_stage, "fetch_dataset", lambda *_: Dataset())
    monkeypatch.setattr(restore_stage, "fetch_tiles", lambda *_: tmp_path)
    monkeypatch.setattr(launcher, "_train_here", lambda *_: pytest.fail("two train one run"))
    for train, prefix in (
        (stages.train, stages.run_prefix(config, dataset)),
        (restore_stage.train_prior, restore_stage.prior_prefix(config, dataset)),
    ):
        run_dir = Path(config.work_dir) / prefix
        run_dir.mkdir(parents=True)
        said = pytest.raises(HeldError, match=f"trained already by .*process {os.getpid()}")
        with only_launcher(run_dir, open_store(config.store), prefix), said:
            train(config, dataset, launcher="none")


def test_a_process_whose_parent_ended_before_it_asked_is_killed() -> None:
    def code(grandparent: int) -> int:
        script = f"from oaml_core.processes import die_with_parent; die_with_parent(9, grandparent={grandparent})"
        return subprocess.run([sys.executable, "-c", script], check=False).returncode

    assert code(os.getppid()) == 0
    assert code(os.getpid()) == -signal.SIGKILL


def test_a_run_whose_launcher_is_killed_leaves_nobody_and_goes_on(tiny: TinyRun) -> None:
    options = ("--name", "locked", "--optim.epochs", "8")
    run_dir = tiny.run_dir(*options)
    first = tiny.start(*options)
    wait_for(lambda: any((run_dir / "checkpoints").glob("step-*.ckpt")) or first.poll() is not None)
    workers = worker_pids(run_dir)
    second = tiny.start(*options)
    output, _ = second.communicate(timeout=PATIENCE)
    assert second.returncode == 1, output
    assert f"trained already by {os.uname().nodename}, process {first.pid}, since" in output
    assert worker_pids(run_dir) == workers, "the first start goes on undisturbed"
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) >= 3, "an agent and two workers"
    first.kill()
    _, left = psutil.wait_procs(family, timeout=PATIENCE)
    assert not left
    first.communicate()
    again = tiny.start(*options)
    output, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, output
    assert "resumes from step-" in output
    assert not list(open_store(tiny.config.store).list(f"leases/{run_dir.parent.name}/{run_dir.name}"))
