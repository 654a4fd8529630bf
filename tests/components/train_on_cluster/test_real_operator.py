"""A job of ours in the hands of the real training operator; skips where none is at work.

Pods get no node there, so that their part, and the kubelet's, is played: what the operator makes of the job is real.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client
from operator_part import OperatorPart, wait_for
from real_cluster import training_namespace
from training_place import Place

PATIENCE = 20.0
"""Seconds in which an operator that is at work has looked at a job."""

pytestmark = [pytest.mark.cluster, pytest.mark.operator]


@pytest.fixture
def operated(caplog: pytest.LogCaptureFixture) -> Iterator[Place]:
    caplog.set_level(logging.INFO)
    with training_namespace() as found:
        yield Place(*found)


def seen_by_an_operator(operator: OperatorPart) -> dict[str, Any]:
    """The job, once an operator has looked at it."""
    operator.job()
    try:
        return wait_for(lambda: next((job for job in operator.jobs() if job.get("status")), None), PATIENCE)
    except AssertionError:
        pytest.skip("no training operator is at work on this cluster")


def pods_of(operator: OperatorPart, job: dict[str, Any], count: int) -> list[Any]:
    """The pods that the operator has made, by number."""
    core, label = client.CoreV1Api(operator.api), f"training.kubeflow.org/job-name={job['metadata']['name']}"

    def found() -> list[Any]:
        pods = core.list_namespaced_pod(operator.namespace, label_selector=label).items
        return sorted(pods, key=lambda pod: pod.metadata.name) if len(pods) == count else []

    return list(wait_for(found))


def bind(operator: OperatorPart, pod: str) -> None:
    """Put a pod on the node whose kubelet is played here."""
    target = client.V1ObjectReference(api_version="v1", kind="Node", name=operator.node)
    binding = client.V1Binding(metadata=client.V1ObjectMeta(name=pod), target=target)
    client.CoreV1Api(operator.api).create_namespaced_pod_binding(
        pod, operator.namespace, binding, _preload_content=False
    )


def test_the_operator_starts_the_workers_as_we_expect_and_ends_the_job_as_we_read_it(operated: Place) -> None:
    training, operator = operated.train(), operated.operator
    job = seen_by_an_operator(operator)
    pods = pods_of(operator, job, count=2)
    for pod in pods:
        given = {each.name: each.value for each in pod.spec.containers[0].env if each.value}
        assert given["PET_NNODES"] == "1:2"
        assert given["PET_RDZV_BACKEND"] == "c10d"
        assert given["PET_RDZV_ENDPOINT"].startswith(f"{job['metadata']['name']}-worker-0:")
        assert "RANK" not in given
        assert pod.metadata.labels["oaml.io/role"] == "worker"
    for pod in pods:
        bind(operator, pod.metadata.name)
        operator.logs.write(pod.metadata.name, "pytorch", "epoch 1/1")
        operator.set_container(pod.metadata.name, {"running": {}}, phase="Running")
    for pod in pods:
        operator.end_container(pod.metadata.name, 0, "Completed")
    assert training.wait() is None


def test_a_worker_that_fails_for_good_ends_the_step_with_its_words(operated: Place) -> None:
    training, operator = operated.train(), operated.operator
    job = seen_by_an_operator(operator)
    pods = pods_of(operator, job, count=2)
    for pod in pods:
        bind(operator, pod.metadata.name)
        operator.set_container(pod.metadata.name, {"running": {}}, phase="Running")
    operator.end_container(pods[0].metadata.name, 1, lines=("oaml: optim.lr is 0",))
    assert "optim.lr is 0" in str(training.wait())
