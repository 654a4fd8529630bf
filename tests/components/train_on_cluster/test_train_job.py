"""TrainJob, the backend of fixed size, behind the same interface."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client
from operator_part import wait_for
from pytorch_part import now
from training_place import CLUSTER, CONFIG, Place, Training

from components.train.backend import JobState
from components.train.backends import BACKENDS
from oaml_core.config import TrainConfig

FIXED = replace(CONFIG, train=TrainConfig(min_nodes=2, max_nodes=2))
KIND = ("trainer.kubeflow.org", "v1alpha1", "faces", "trainjobs")


def condition(kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": kind, "message": message, "lastTransitionTime": now()}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, JobState("created")),
        ({"jobsStatus": [{"name": "node", "active": 1}]}, JobState("running")),
        ({"conditions": [condition("Suspended", "waits")]}, JobState("suspended", "waits")),
        ({"conditions": [condition("Complete", "done")]}, JobState("succeeded", "done")),
        ({"conditions": [condition("Suspended", "no"), condition("Failed", "broke")]}, JobState("failed", "broke")),
    ],
)
def test_where_a_job_stands(status: dict[str, Any], state: JobState) -> None:
    assert BACKENDS["trainjob"].state({"status": status}) == state


@pytest.mark.parametrize("place", ["double"], indirect=True)
@pytest.mark.parametrize("ends", ["Complete", "Failed"])
def test_it_is_created_and_followed_to_its_end(
    place: Place, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], ends: str
) -> None:
    jobs = client.CustomObjectsApi(place.operator.api)
    training = Training(replace(CLUSTER, training_backend="trainjob"), FIXED)
    job = wait_for(lambda: next(iter(jobs.list_namespaced_custom_object(*KIND)["items"]), None))
    name = job["metadata"]["name"]
    labels = {
        "jobset.sigs.k8s.io/jobset-name": name,
        "jobset.sigs.k8s.io/replicatedjob-name": "node",
        "batch.kubernetes.io/job-completion-index": "0",
    }
    pod = f"{name}-node-0-0"
    core = client.CoreV1Api(place.operator.api)
    spec = {"containers": [{"name": "node", "image": job["spec"]["trainer"]["image"]}]}
    core.create_namespaced_pod("faces", {"metadata": {"name": pod, "labels": labels}, "spec": spec})
    place.operator.logs.write(pod, "node", "epoch 1")
    place.operator.logs.end(pod, "node")
    ended = {"terminated": {"exitCode": int(ends == "Failed")}}
    place.operator.set_container(pod, ended, phase="Failed", container="node")
    heard = wait_for(lambda: capsys.readouterr().out)
    assert heard == "epoch 1\n"
    status = {"status": {"conditions": [condition(ends, "as the trainer says")]}}
    jobs.patch_namespaced_custom_object_status(*KIND, name, status)
    error = training.wait()
    assert "created TrainJob night-" in caplog.text
    if ends == "Complete":
        assert error is None
    else:
        assert f"TrainJob {name} failed: as the trainer says" in str(error)
        assert f"{pod} ended with exit code 1." in str(error)
