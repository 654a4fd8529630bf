"""Every connection that the system makes passes the rendered NetworkPolicies, and others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler
from network_rules import End, allows
from step_settings import store_address
from test_kustomize import of_kind, rendered

from components.cluster import load_cluster
from components.train.backends import BACKENDS
from components.train.run import training_run
from oaml_core.config import Config, TrainConfig
from pipelines.oaml_pipeline import oaml_pipeline

REPO = Path(__file__).parents[2]
KINDS = {"cluster": "default.yaml", "local": "local.yaml"}
"""Cluster file that goes with each overlay."""
STAGES = ("preprocess", "train", "evaluate", "gate", "export", "promote", "night")
OPERATORS = {
    "pytorchjob": {"training.kubeflow.org/job-name": "night", "training.kubeflow.org/replica-index": "0"},
    "trainjob": {"jobset.sigs.k8s.io/jobset-name": "night"},
}
"""Labels that an operator adds; policies must not need those of one alone."""


@pytest.fixture(params=KINDS)
def overlay(request: pytest.FixtureRequest) -> str:
    return request.param


def policies(overlay: str) -> list[dict[str, Any]]:
    return of_kind(rendered(f"overlays/{overlay}"), "NetworkPolicy")


def step(overlay: str, stage: str, folder: Path) -> End:
    """The pod of a step, with the labels that the compiled pipeline gives it."""
    cluster = load_cluster(REPO / "configs" / "cluster" / KINDS[overlay])
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(oaml_pipeline(cluster), str(path))
    _, platform = yaml.safe_load_all(path.read_text())
    executor = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][f"exec-{stage}"]
    return End(cluster.namespace, executor["podMetadata"]["labels"] | {"pipelines.kubeflow.org/v2_component": "true"})


def worker(overlay: str, backend: str) -> End:
    """The pod of a worker, with the labels that the job and its operator give it."""
    cluster = load_cluster(REPO / "configs" / "cluster" / KINDS[overlay])
    config = Config(name="night", store="s3://oaml", train=TrainConfig(max_nodes=2))
    run = training_run(config, "s3://oaml/datasets/f1", "runs/night-0123456789abcdef", cluster)
    spec = BACKENDS[backend].manifest(run, cluster)["spec"]
    if backend == "pytorchjob":
        template = spec["pytorchReplicaSpecs"]["Worker"]["template"]
    else:
        jobs = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        template = jobs[0]["template"]["spec"]["template"]
    return End(cluster.namespace, template["metadata"]["labels"] | OPERATORS[backend])


def store(overlay: str) -> tuple[End, int]:
    """Where the settings say that the store is."""
    manifests = rendered(f"overlays/{overlay}")
    address = store_address(manifests)
    port = address.port or {"http": 80, "https": 443}[address.scheme]
    if not (services := of_kind(manifests, "StatefulSet")):
        return End(address="198.51.100.7"), port
    template = services[0]["spec"]["template"]
    (named,) = template["spec"]["containers"][0]["ports"]
    place = services[0]["metadata"]["namespace"]
    return End(place, template["metadata"]["labels"], named_ports={named["name"]: named["containerPort"]}), port


DNS = {
    "kube-dns": (End("kube-system", {"k8s-app": "kube-dns"}), 53),
    "a cache on the node": (End(address="169.254.20.10"), 53),
    "OpenShift": (End("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}), 5353),
}


@pytest.mark.parametrize("stage", STAGES)
def test_steps_reach_names_store_kubeflow_and_api_server(overlay: str, stage: str, tmp_path: Path) -> None:
    found, pod = policies(overlay), step(overlay, stage, tmp_path)
    for target, port in DNS.values():
        assert all(allows(found, pod, target, port, protocol) for protocol in ("TCP", "UDP"))
    assert allows(found, pod, *store(overlay))
    for port in (443, 6443):
        assert allows(found, pod, End(address="172.18.0.2"), port)
    assert allows(found, pod, End("kubeflow", {"app": "metadata-grpc-server"}), 8080)
    assert allows(found, pod, End("kubeflow", {"app": "ml-pipeline"}), 8887)


@pytest.mark.parametrize("backend", BACKENDS)
def test_workers_reach_names_store_and_one_another(overlay: str, backend: str) -> None:
    found, pod = policies(overlay), worker(overlay, backend)
    for target, port in DNS.values():
        assert all(allows(found, pod, target, port, protocol) for protocol in ("TCP", "UDP"))
    assert allows(found, pod, *store(overlay))
    for port in (29400, 23456, 41234):  # rendezvous, and NCCL or Gloo on ports of their own choice
        assert allows(found, pod, pod, port)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nobody_else_gets_in_and_workers_get_nowhere_else(overlay: str, backend: str) -> None:
    found, pod = policies(overlay), worker(overlay, backend)
    stranger = End("elsewhere", {"app": "stranger"})
    neighbour = End(pod.namespace, {"app": "notebook"})
    for other in (stranger, neighbour):
        assert not allows(found, other, pod, 29400)
        assert not allows(found, pod, other, 8080)
    assert not allows(found, pod, End(address="203.0.113.9"), 22)
    assert not allows(found, pod, End(address="172.18.0.2"), 6443)  # workers ask the API server for nothing


def test_other_pods_of_the_namespace_are_left_alone(overlay: str) -> None:
    found = policies(overlay)
    namespace = found[0]["metadata"]["namespace"]
    theirs, caller = End(namespace, {"app": "ml-pipeline"}), End("istio-system", {"app": "gateway"})
    assert allows(found, caller, theirs, 8888)
    assert allows(found, theirs, End(address="203.0.113.9"), 3306)


def test_ports_come_from_the_settings(overlay: str) -> None:
    manifests = rendered(f"overlays/{overlay}")
    ports = next(each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == "oaml-network")["data"]
    assert int(ports["store-port"]) == store(overlay)[1]
    rules = {
        each["metadata"]["name"]: each["spec"]["egress"][0]["ports"]
        for each in policies(overlay)
        if each["metadata"]["name"] in ("names", "store")
    }
    assert [each["port"] for each in rules["names"]] == [
        int(ports[key]) for key in ("dns-port",) * 2 + ("other-dns-port",) * 2
    ]
    assert [each["port"] for each in rules["store"]] == [int(ports["store-port"])]


@pytest.mark.parametrize("backend", BACKENDS)
def test_pods_with_an_identity_of_their_own_reach_who_gives_them_keys(backend: str, tmp_path: Path) -> None:
    found = policies("cluster")
    for pod in (step("cluster", "preprocess", tmp_path), worker("cluster", backend)):
        assert allows(found, pod, End(address="169.254.170.23"), 80)  # EKS Pod Identity
        assert allows(found, pod, End(address="203.0.113.7"), 443)  # AWS STS
        assert not allows(found, pod, End(address="169.254.169.254"), 80)  # the node's own identity
