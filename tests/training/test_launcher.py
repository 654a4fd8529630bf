"""Which rendezvous the workers of a node are told of, and why they ended."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import psutil
import pytest
from full_disk import full_disk

from oaml_core.config import Config, TrainConfig
from oaml_core.errors import OamlError
from oaml_core.training.launcher import _rendezvous, gpus_used, launch
from oaml_core.training.meeting import LISTENER_VARIABLE, loopback_listener

CONFIG = Config(train=TrainConfig(nproc=3, max_nodes=2, max_restarts=7))


@pytest.fixture(autouse=True)
def no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PET_RDZV_ENDPOINT", "PET_MASTER_ADDR", "PET_NPROC_PER_NODE", "OAML_RDZV_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with loopback_listener() as listening:
        yield listening


def test_on_one_machine_it_is_the_launchers_own(listener: socket.socket) -> None:
    options = {*_rendezvous(CONFIG, "night-1", listener)}
    assert {"--nproc-per-node=3", "--nnodes=1:2", "--rdzv-backend=oaml-loopback"} <= options
    assert f"--rdzv-endpoint=127.0.0.1:{listener.getsockname()[1]}" in options


def test_all_sockets_of_a_local_run_listen_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tests}:{tests.parent}")
    config = Config(store=str(tmp_path / "store"), train=TrainConfig(nproc=2, max_restarts=0))
    launch(config, tmp_path, tmp_path / "run", "runs/x", worker="training.listening_worker")
    addresses = json.loads((tmp_path / "run" / "listening.json").read_text())
    assert addresses, "workers that talk to one another listen somewhere"
    assert [address for address in addresses if not ip_address(address).is_loopback] == []


@pytest.mark.parametrize(
    ("elsewhere", "opened"),
    [(None, 1), ("PET_RDZV_ENDPOINT", 0), ("PET_MASTER_ADDR", 0), ("OAML_RDZV_ENDPOINT", 0)],
)
def test_a_launcher_listens_only_where_its_workers_meet_there(
    elsewhere: str | None, opened: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if elsewhere:
        monkeypatch.setenv(elsewhere, "night-1-worker-0:29400")

    def listening() -> set[int]:
        found = psutil.Process().net_connections("tcp")
        return {each.fd for each in found if each.status == psutil.CONN_LISTEN}

    before, meanwhile = listening(), list[tuple[set[int], dict[str, str], tuple[int, ...]]]()

    def run(_: object, environment: dict[str, str], *rest: Any) -> int:
        meanwhile.append((listening() - before, environment, rest[-1]))
        return 0

    monkeypatch.setattr("oaml_core.training.launcher._run_to_end", run)
    launch(replace(CONFIG, store=str(tmp_path / "store")), tmp_path, tmp_path / "run", "runs/x")
    ((sockets, environment, inherited),) = meanwhile
    assert len(sockets) == opened
    assert sockets <= set(inherited)
    assert (LISTENER_VARIABLE in environment) == bool(opened)


@pytest.mark.timeout(120)
def test_an_agent_whose_disk_was_full_for_a_while_ends_with_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of the meeting that was cut off let the agent read for ever."""
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tests}:{tests.parent}")
    config = Config(store=str(tmp_path / "store"), train=TrainConfig(nproc=2, max_restarts=0))
    launch(config, tmp_path, tmp_path / "run", "runs/x", worker="training.full_disk_worker")
    assert (tmp_path / "run" / "disk was full").exists()


@pytest.mark.parametrize(("most", "told"), [(None, "reason stands above"), (1_000, "takes no more .File too large.")])
def test_a_full_disk_is_named_as_the_reason(
    most: int | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        full.enter_context(full_disk(most) if most else nullcontext())
        return -6

    monkeypatch.setattr("oaml_core.training.launcher.run_and_rejoin", fails)
    with ExitStack() as full, pytest.raises(OamlError, match=f"exit code -6.*{told}.*goes on from the newest"):
        launch(Config(store=str(tmp_path / "store")), tmp_path, tmp_path / "run", "runs/x")


@pytest.mark.parametrize("operators", ["PET_RDZV_ENDPOINT", "PET_MASTER_ADDR"])
def test_in_a_pod_it_is_the_operators(monkeypatch: pytest.MonkeyPatch, operators: str, listener: socket.socket) -> None:
    monkeypatch.setenv(operators, "night-1-worker-0")
    monkeypatch.setenv("PET_NPROC_PER_NODE", "8")
    options = _rendezvous(CONFIG, "night-1", listener)
    for name in ("--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint"):
        assert not any(option.startswith(name) for option in options), "options would win over the environment"


@pytest.mark.parametrize("operators", [None, "PET_RDZV_ENDPOINT", "PET_MASTER_ADDR"])
def test_its_id_is_always_the_runs(
    monkeypatch: pytest.MonkeyPatch, operators: str | None, listener: socket.socket
) -> None:
    if operators:
        monkeypatch.setenv(operators, "night-1-worker-0")
    assert "--rdzv-id=night-1" in _rendezvous(CONFIG, "night-1", listener)
    assert "--max-restarts=7" in _rendezvous(CONFIG, "night-1", listener)


def test_where_no_driver_is_the_launcher_does_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oaml_core.training.launcher.GPU_DEVICES", ("no-such-device",))
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it raises
    assert gpus_used(CONFIG) == 0
    monkeypatch.setattr("oaml_core.training.launcher.GPU_DEVICES", ("null",))
    with pytest.raises(ImportError):
        gpus_used(CONFIG)


def test_training_is_launched_without_pytorch() -> None:
    """Nor does what brings the data set import it."""
    modules = ["stages.train_stage", "stages.publish_run", "training.launcher", "data.prepared.prepared"]
    code = "; ".join(["import sys", *(f"import oaml_core.{name}" for name in modules)])
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True)
