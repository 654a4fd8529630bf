"""`training_backend: auto` takes what the cluster has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kubernetes_server.kube_server import KubeServer
from operator_part import wait_for
from training_place import CLUSTER, CONFIG, Place, Training

from components.train.backends import BACKENDS

pytestmark = pytest.mark.parametrize("place", ["double"], indirect=True)
AUTO = replace(CLUSTER, training_backend="auto")


@pytest.mark.parametrize(
    ("served", "kind"),
    [
        ({"pytorchjobs", "trainjobs"}, "PyTorchJob"),
        ({"pytorchjobs"}, "PyTorchJob"),
        ({"trainjobs"}, "TrainJob"),
    ],
)
def test_the_cluster_decides(
    place: Place, kube: KubeServer, caplog: pytest.LogCaptureFixture, served: set[str], kind: str
) -> None:
    kube.served = served
    training = Training(AUTO, CONFIG)
    wait_for(lambda: f"created {kind} night-" in caplog.text or training.is_over)
    assert f"created {kind} night-" in caplog.text
    plural = next(each.plural for each in BACKENDS.values() if each.kind == kind)
    (job,) = kube.objects.list(plural, "faces", {})["items"]
    kube.objects.delete(plural, "faces", job["metadata"]["name"], {})
    training.wait()


def test_a_cluster_without_either_is_named(place: Place, kube: KubeServer) -> None:
    kube.served = set()
    error = str(Training(AUTO, CONFIG).wait())
    assert "neither pytorchjobs.kubeflow.org nor trainjobs.trainer.kubeflow.org" in error
    assert "training_backend: local" in error
