"""What is wrong with a worker's pod, in words that say what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

PULL = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError")
NO_IMAGE = ("InvalidImageName", "ErrImageNeverPull")
NOT_STARTED = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError")
"""Reasons why a container waits (kubelet: pkg/kubelet/images/types.go, pkg/kubelet/kuberuntime)."""
KILLED, TERMINATED = 128 + 9, 128 + 15
DISRUPTIONS = {
    "PreemptionByScheduler": "made room for a pod of higher priority; training.priority_class can change that",
    "DeletionByTaintManager": "its node got a taint that it does not tolerate; see training.tolerations",
    "EvictionByEvictionAPI": "its node is drained",
    "DeletionByPodGC": "its node is gone",
    "TerminationByKubelet": "its node ran short of a resource, or shuts down",
}
"""https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions"""


@dataclass(frozen=True)
class Trouble:
    """One thing that is wrong."""

    pod: str
    text: str
    """What happened, and the remedy."""
    waits: bool = False
    """Nothing happens until somebody mends it: the pod will not fail by itself."""
    hopeless: bool = False
    """Waiting for it to mend is in vain."""

    def __str__(self) -> str:
        return f"{self.pod} {self.text}"


def troubles(pod: Json, container: str) -> Iterator[Trouble]:
    """Yield the troubles of `pod`, whose `container` trains; none for a healthy one."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    if status.get("reason") == "Evicted":
        yield Trouble(
            name,
            f"was evicted from its node: {_sentence(status.get('message'))} Ask for what it uses: training.memory, "
            "cache.size_limit.",
        )
    for condition in status.get("conditions") or []:
        yield from _of_condition(name, condition)
    for state in status.get("containerStatuses") or []:
        if state["name"] == container:
            yield from _of_container(name, pod, state)


def _of_condition(name: str, condition: Json) -> Iterator[Trouble]:
    reason = condition.get("reason", "")
    if (condition["type"], condition["status"], reason) == ("PodScheduled", "False", "Unschedulable"):
        yield Trouble(
            name,
            f"finds no node: {_sentence(condition.get('message'))} See training.gpus, cpu, memory, node_selector and "
            "tolerations, and the namespace's quota.",
        )
    if (condition["type"], condition["status"]) == ("DisruptionTarget", "True"):
        yield Trouble(name, f"is taken away: {DISRUPTIONS.get(reason, reason)}.")


def _of_container(name: str, pod: Json, status: Json) -> Iterator[Trouble]:
    state = status.get("state") or {}
    if waiting := state.get("waiting"):
        yield from _of_waiting(name, status, waiting)
    for ended in (state.get("terminated"), (status.get("lastState") or {}).get("terminated")):
        if ended and ended.get("exitCode") != 0:
            yield Trouble(name, _why_ended(pod, status["name"], ended))


def _of_waiting(name: str, status: Json, waiting: Json) -> Iterator[Trouble]:
    reason, said = waiting.get("reason", ""), _sentence(waiting.get("message"))
    if reason in PULL:
        remedy = "See registry and image_pull_secrets, and that the image was pushed."
        yield Trouble(name, f"cannot pull the image {status['image']}: {said} {remedy}", waits=True)
    elif reason in NO_IMAGE:
        text = f"cannot use the image {status['image']}: {reason}: {said} See registry and image_pull_policy."
        yield Trouble(name, text, waits=True, hopeless=True)
    elif reason in NOT_STARTED:
        text = f"cannot start: {reason}: {said} See secrets, cache and training in the cluster file."
        yield Trouble(name, text, waits=True)


def _why_ended(pod: Json, container: str, ended: Json) -> str:
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        return (
            f"ran out of memory: it was killed at its limit of {_memory_limit(pod, container)}. Raise training.memory, "
            "or lower data.num_workers, data.prefetch_factor or data.batch_size; training.shared_memory counts, too."
        )
    if code == KILLED:
        return "was killed (SIGKILL), by its node or after training.termination_grace_seconds."
    if code == TERMINATED:
        return "was asked to end (SIGTERM), and did, after a checkpoint."
    return f"ended with exit code {code}{_because(ended)}."


def _because(ended: Json) -> str:
    said = ended.get("message") or (ended.get("reason") if ended.get("reason") != "Error" else "")
    return f": {said.strip().rstrip('.')}" if said else ""


def _memory_limit(pod: Json, container: str) -> str:
    limits = [
        each.get("resources", {}).get("limits", {}).get("memory")
        for each in pod["spec"]["containers"]
        if each["name"] == container
    ]
    return next(filter(None, limits), "its node's memory")


def _sentence(text: str | None) -> str:
    text = (text or "no reason is given").strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."
