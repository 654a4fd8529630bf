"""The Role of the train step: what it calls is allowed, and nothing beyond is."""

from __future__ import annotations

import inspect
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from threading import Event, Timer

import pytest
import yaml
from kubernetes import config as kubernetes_config
from kubernetes.client import ApiException
from kubernetes_server.kube_server import KubeServer

from components.train.backends import BACKENDS
from components.train.client import ClusterClient
from components.train.watch import OutOfReach, changes
from oaml_core.errors import ClusterError

REPO = Path(__file__).parents[2]
ROLE = REPO / "k8s" / "base" / "train-role.yaml"
METHODS = {"create", "get", "warnings", "job_list", "pod_list", "pod", "workloads", "log_tail"}
METHODS |= {"log_stream", "delete", "refused"}
"""Of the client; `refused` calls nothing."""
Right = tuple[str, str, str]
"""API group, resource, verb."""


def role() -> set[Right]:
    found = next(each for each in yaml.safe_load_all(ROLE.read_text()) if each["kind"] == "Role")
    return {
        (group, resource, verb)
        for rule in found["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def follow(client: ClusterClient) -> None:
    """Make each of the client's calls once."""
    job = {
        "apiVersion": f"{client.backend.group}/{client.backend.version}",
        "kind": client.backend.kind,
        "metadata": {"name": "night"},
        "spec": {},
    }
    for call in (
        lambda: client.create(job),
        lambda: client.get("night"),
        lambda: client.pod("night-worker-0"),
        client.warnings,
        lambda: client.workloads("uid"),
        lambda: client.log_tail("night-worker-0", 1),
        lambda: list(client.log_stream("night-worker-0", None)),
        lambda: client.delete("night", "uid"),
    ):
        with suppress(ClusterError, ApiException):  # there is no such job; the right to ask for it is what counts
            call()
    for list_call in (client.job_list("night"), client.pod_list("night")):
        stop = Event()
        Timer(0.5, stop.set).start()
        with suppress(ApiException, OutOfReach):
            list(islice(changes(list_call, stop), 1))


def test_what_is_called_is_allowed_and_nothing_beyond_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.train.watch.WATCH_SECONDS", 1)
    with KubeServer() as kube:
        kube.served.add("workloads")
        path = kube.write_kubeconfig(tmp_path / "kubeconfig")
        api = kubernetes_config.new_client_from_config(str(path))
        for backend in BACKENDS.values():
            follow(ClusterClient(backend, "oaml", api))
        assert set(kube.calls) == role()


def test_all_methods_of_the_client_are_looked_at() -> None:
    public = {name for name, _ in inspect.getmembers(ClusterClient, inspect.isfunction) if not name.startswith("_")}
    assert public == METHODS


def test_the_train_step_speaks_to_the_api_server_through_that_client_alone() -> None:
    """Whoever adds a call elsewhere has to add it to the Role, and here."""
    calling = re.compile(r"_namespaced_|_cluster_custom|CoreV1Api|CustomObjectsApi|DynamicClient")
    files = [path for top in ("components", "pipelines", "oaml_core") for path in (REPO / top).rglob("*.py")]
    assert {path.relative_to(REPO).as_posix() for path in files if calling.search(path.read_text())} <= {
        "components/train/client.py"
    }
