"""Rules of the training operator for a PyTorchJob (kubeflow/training-operator 1.9): its webhook, the conditions that it
writes, and its answers to pods that end.

Written from the behaviour of pkg/webhooks/pytorch, pkg/util/status.go, pkg/controller.v1/common/pod.go and
pkg/controller.v1/pytorch.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from jobset_part import Answer

Json = dict[str, Any]
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
PORT = 23456
"""Port that the operator gives the container where the job names none."""
UNKNOWN_CODE = 0xBEEF
"""Exit code of a pod that failed before its container said one, as where its node is lost."""
OUT_OF_PLACE = {
    "Running": {"Restarting": None, "Suspended": "False"},
    "Restarting": {"Running": None},
    "Suspended": {"Running": "False"},
    "Succeeded": {"Running": "False"},
    "Failed": {"Running": "False"},
}
"""By the type of a new condition: what becomes of others that are True; None: they are gone."""


def refusals(job: Json) -> list[str]:
    """Return the webhook's objections to a job; none: it lets the job pass."""
    name, spec = job["metadata"]["name"], job["spec"]
    found = [] if LABEL.fullmatch(name) else [f"{name} is no DNS-1035 label"]
    replicas, elastic = spec["pytorchReplicaSpecs"], spec.get("elasticPolicy")
    for kind, each in replicas.items():
        images = [one.get("image") for one in each["template"]["spec"]["containers"] if one["name"] == "pytorch"]
        found += [] if images and all(images) else [f"{kind} has no container named pytorch with an image"]
        found += [] if kind in ("Master", "Worker") else [f"{kind} is no kind of replica"]
        found += ["more than one Master"] if kind == "Master" and each.get("replicas", 1) != 1 else []
    if elastic is not None:
        found += [] if replicas.get("Worker", {}).get("replicas", 1) > 0 and "Worker" in replicas else ["no Worker"]
        found += ["nprocPerNode is there twice"] if "nProcPerNode" in elastic and "nprocPerNode" in spec else []
    return found


def environment(job: Json, endpoint: str | None = None) -> dict[str, str]:
    """Variables that the operator adds to the container's; those of one name come after the job's own, and hold.

    Args:
        job: elastic, without a Master.
        endpoint: `host:port` in place of the first worker's.
    """
    elastic, spec = job["spec"]["elasticPolicy"], job["spec"]
    assert "Master" not in spec["pytorchReplicaSpecs"], "it would get RANK, WORLD_SIZE and MASTER_*, too"
    told = {
        "PYTHONUNBUFFERED": "1",
        "PET_RDZV_ENDPOINT": endpoint or f"{job['metadata']['name']}-worker-0:{elastic.get('rdzvPort', PORT)}",
        "PET_RDZV_BACKEND": elastic.get("rdzvBackend", "c10d"),
        "PET_NNODES": f"{elastic['minReplicas']}:{elastic['maxReplicas']}",
        "PET_NPROC_PER_NODE": spec.get("nprocPerNode", "auto"),
        "PET_RDZV_CONF": ",".join(f"{each['key']}={each['value']}" for each in elastic.get("rdzvConf", [])),
        "PET_RDZV_ID": elastic.get("rdzvId", ""),
        "PET_MAX_RESTARTS": str(elastic.get("maxRestarts", "")),
    }
    return {name: value for name, value in told.items() if value}


def answer(job: Json, exit_code: int | None) -> Answer:
    """Return the answer to a pod of an elastic job that has ended: one worker that ends well ends the job, and the
    operator does not count how often it makes a pod again.
    """
    code = UNKNOWN_CODE if exit_code is None else exit_code
    policy = job["spec"]["pytorchReplicaSpecs"]["Worker"].get("restartPolicy", "Never")
    if code == 0:
        return "succeeded"
    retried = code >= 128 if policy == "ExitCode" else policy in ("OnFailure", "Always")
    return "again" if retried else "failed"


def taken_away(job: Json, phase: str) -> bool:
    """Return True if a pod in this phase is deleted once its job has ended."""
    policy = job["spec"]["runPolicy"].get("cleanPodPolicy", "None")
    return policy == "All" or (policy == "Running" and phase == "Running")


def conditions_after(conditions: list[Json], kind: str, message: str) -> list[Json]:
    """Return the conditions of a job once one of this type has become True.

    Args:
        conditions: those that it has; they stay as they are.
        kind: type of the new one. A job that has failed takes none, and one that is True keeps its words.
    """
    known = {each["type"]: each for each in conditions}
    is_true = {name for name, each in known.items() if each["status"] == "True"}
    if "Failed" in is_true or kind in is_true:
        return conditions
    changed = OUT_OF_PLACE.get(kind, {})
    kept = [
        each | ({"status": changed[each["type"]], "lastTransitionTime": now()} if each["type"] in changed else {})
        for each in conditions
        if each["type"] != kind and not (each["type"] in changed and changed[each["type"]] is None)
    ]
    made = {"type": kind, "status": "True", "reason": f"PyTorchJob{kind}", "message": message}
    return [*kept, made | {"lastTransitionTime": now(), "lastUpdateTime": now()}]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
