"""A job that waits in a queue of Kueue says why, and does not wait for a queue that is not there."""

from __future__ import annotations

import pytest
from kubernetes_server.kube_server import KubeServer
from operator_part import wait_for
from training_place import Place

pytestmark = pytest.mark.parametrize("place", ["double", "trainer"], indirect=True)
FULL = "couldn't assign flavors to pod set worker: insufficient unused quota for nvidia.com/gpu, {} more needed"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch, kube: KubeServer) -> None:
    monkeypatch.setattr("components.train.admission.LOOK_SECONDS", 0.1)
    kube.served.add("workloads")


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ("LocalQueue faces doesn't exist", "`kubectl get localqueues` lists those of the job's namespace"),
        ("ClusterQueue gpus doesn't exist", "Whoever runs Kueue can make it"),
    ],
)
def test_a_queue_that_is_not_there_cancels_the_job(place: Place, message: str, remedy: str) -> None:
    training = place.train(queue="faces", start_patience_seconds=0)
    place.operator.queue(place.operator.job(), message)
    error = str(training.wait())
    assert f"cannot start: the job waits in the queue faces: {message}. {remedy}" in error
    assert "The job is cancelled" in error
    assert place.operator.jobs() == []


@pytest.mark.parametrize(
    ("message", "remedy"),
    [(FULL.format(3), "lower training.gpus"), ("LocalQueue faces is inactive", "Somebody has stopped the queue")],
)
def test_a_full_or_stopped_queue_is_said_once_and_waited_for(
    place: Place, message: str, remedy: str, caplog: pytest.LogCaptureFixture
) -> None:
    training = place.train(queue="faces", start_patience_seconds=0)
    job = place.operator.job()
    place.operator.queue(job, message)
    wait_for(lambda: f"{message}. " in caplog.text)
    place.operator.queue(job, message.replace("3 more", "1 more"))
    assert remedy in caplog.text
    place.operator.start(job)
    place.operator.set_condition(job, "Succeeded")
    assert training.wait() is None
    assert caplog.text.count(remedy) == 1


def test_a_cluster_without_kueue_is_named(place: Place, kube: KubeServer) -> None:
    kube.served.discard("workloads")
    error = str(place.train(queue="faces", start_patience_seconds=0).wait())
    assert "the job waits in the queue faces: this cluster has no Kueue. Leave training.queue out" in error


def test_a_job_that_kueue_takes_no_note_of_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    training = place.train(queue="faces", start_patience_seconds=0)
    wait_for(lambda: "Kueue has not taken note of it yet" in caplog.text)
    assert not training.is_over
    place.operator.set_condition(place.operator.job(), "Succeeded")
    assert training.wait() is None


def test_a_job_without_a_queue_asks_nothing_of_kueue(place: Place, kube: KubeServer) -> None:
    training = place.train(start_patience_seconds=0)
    place.operator.set_condition(place.operator.job(), "Succeeded")
    assert training.wait() is None
    assert not any(resource == "workloads" for _, resource, _ in kube.calls)


def test_without_the_right_to_read_workloads_training_goes_on(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture
) -> None:
    kube.forbidden.add(("list", "workloads"))
    training = place.train(queue="faces")
    wait_for(lambda: "why it waits in the queue faces cannot be read" in caplog.text)
    assert "bind it to the Role in k8s/base" in caplog.text
    place.operator.set_condition(place.operator.job(), "Succeeded")
    assert training.wait() is None
