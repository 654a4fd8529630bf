"""Which rendezvous the workers of a node are told of."""

from __future__ import annotations

import pytest

from oaml_core.config import Config, TrainConfig
from oaml_core.training.launcher import _rendezvous

CONFIG = Config(train=TrainConfig(nproc=3, max_nodes=2, max_restarts=7))


@pytest.fixture(autouse=True)
def no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PET_RDZV_ENDPOINT", "PET_MASTER_ADDR", "PET_NPROC_PER_NODE", "OAML_RDZV_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_on_one_machine_it_is_the_launchers_own() -> None:
    options = _rendezvous(CONFIG, "night-1")
    assert {"--nproc-per-node=3", "--nnodes=1:2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"} <= {*options}


@pytest.mark.parametrize("operators", ["PET_RDZV_ENDPOINT", "PET_MASTER_ADDR"])
def test_in_a_pod_it_is_the_operators(monkeypatch: pytest.MonkeyPatch, operators: str) -> None:
    monkeypatch.setenv(operators, "night-1-worker-0")
    monkeypatch.setenv("PET_NPROC_PER_NODE", "8")
    options = _rendezvous(CONFIG, "night-1")
    for name in ("--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint"):
        assert not any(option.startswith(name) for option in options), "options would win over the environment"


@pytest.mark.parametrize("operators", [None, "PET_RDZV_ENDPOINT", "PET_MASTER_ADDR"])
def test_its_id_is_always_the_runs(monkeypatch: pytest.MonkeyPatch, operators: str | None) -> None:
    if operators:
        monkeypatch.setenv(operators, "night-1-worker-0")
    assert "--rdzv-id=night-1" in _rendezvous(CONFIG, "night-1")
    assert "--max-restarts=7" in _rendezvous(CONFIG, "night-1")
