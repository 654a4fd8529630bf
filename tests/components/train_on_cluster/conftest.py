"""A cluster to train on: the server double, or with the marker `cluster` the API server that KUBECONFIG names.

On the double somebody plays the training operator, or the trainer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import config
from kubernetes_server.kube_server import KubeServer
from operator_part import OperatorPart
from real_cluster import training_namespace
from trainer_part import TrainerPart
from training_place import Place


@pytest.fixture
def kube() -> Iterator[KubeServer]:
    with KubeServer() as server:
        yield server


@pytest.fixture(params=["double", "trainer", pytest.param("real", marks=pytest.mark.cluster)])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Place]:
    caplog.set_level(logging.INFO)
    monkeypatch.delenv("KFP_POD_NAME", raising=False)
    if request.param == "real":
        with training_namespace() as found:
            yield Place(*found)
        return
    server: KubeServer = request.getfixturevalue("kube")
    path = server.write_kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", str(path))
    part = TrainerPart if request.param == "trainer" else OperatorPart
    operator = part(config.new_client_from_config(str(path)), "faces", server.logs)
    yield Place(path, "faces", operator, True)
