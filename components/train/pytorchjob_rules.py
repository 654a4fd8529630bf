"""The rules of a PyTorchJob that its schema does not hold.

All but the last are those of the training operator's webhook (kubeflow/training-operator 1.9,
pkg/webhooks/pytorch); where the webhook is not installed, the API server accepts a job that breaks them, and nothing
happens. Nobody checks the last: such a job waits for ever.
"""

from __future__ import annotations

import re
from typing import Any

from oaml_core.errors import ClusterError

DNS_1035_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
CONTAINER = "pytorch"


def check_rules(manifest: dict[str, Any]) -> None:
    """Refuse a PyTorchJob that breaks a rule.

    Raises:
        ClusterError: names the field.
    """
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    if not DNS_1035_LABEL.fullmatch(name):
        raise ClusterError(f"metadata.name {name!r} must begin with a letter and have only a-z, 0-9 and '-'.")
    replicas = spec["pytorchReplicaSpecs"]
    for kind, replica in replicas.items():
        _check_replicas(kind, replica)
    elastic = spec.get("elasticPolicy")
    if elastic is None:
        return
    if "Worker" not in replicas:
        raise ClusterError("spec.elasticPolicy needs Workers: spec.pytorchReplicaSpecs.Worker is missing.")
    if "nprocPerNode" in spec and "nProcPerNode" in elastic:
        raise ClusterError("spec.nprocPerNode and spec.elasticPolicy.nProcPerNode are the same: set only the first.")
    least, most = elastic.get("minReplicas", 1), elastic.get("maxReplicas")
    if most is not None and least > most:
        raise ClusterError(
            f"spec.elasticPolicy: minReplicas {least} exceeds maxReplicas {most}: see train.min_nodes and "
            "train.max_nodes."
        )


def _check_replicas(kind: str, replica: dict[str, Any]) -> None:
    place = f"spec.pytorchReplicaSpecs.{kind}"
    if kind not in ("Master", "Worker"):
        raise ClusterError(f"{place}: replicas are Master or Worker.")
    count = replica.get("replicas", 1)
    if kind == "Master" and count != 1:
        raise ClusterError(f"{place}.replicas is {count}; there is exactly one Master, or none.")
    if kind == "Worker" and count < 1:
        raise ClusterError(f"{place}.replicas is {count}; there must be at least one.")
    containers = [each for each in replica["template"]["spec"].get("containers", []) if each.get("name") == CONTAINER]
    if not containers:
        raise ClusterError(f"{place}.template: one of the containers must be named {CONTAINER!r}.")
    if not containers[0].get("image"):
        raise ClusterError(f"{place}.template: the container {CONTAINER!r} has no image: see training.image.")
