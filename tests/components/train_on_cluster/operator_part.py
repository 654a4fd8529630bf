"""The part of the training operator and of the kubelets, played through the API server: pods appear, run and fail.

What the trainer does otherwise is in `trainer_part`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytorch_part
from jobset_part import Answer
from kubernetes import client
from kubernetes_server.pod_logs import PodLogs
from pytorch_part import now

from components.train.backend import Backend
from components.train.backends import BACKENDS

Json = dict[str, Any]
PATIENCE = 60.0
"""Seconds within which everything that is waited for here has come."""


@dataclass
class OperatorPart:
    """Acts on the jobs of one namespace."""

    backend: ClassVar[str] = "pytorchjob"
    """The kind of job, as `training_backend` in the cluster file names it."""
    refuses: ClassVar[str] = "FailedCreatePod"
    """Reason of the event that says that a pod was refused."""
    api: client.ApiClient
    namespace: str
    logs: PodLogs
    node: str | None = None
    """Node that pods are bound to, where the API server fetches logs from one."""
    running: set[str] = field(default_factory=set)
    """Pods that run; noted here, since tests count what the API server is asked."""
    conditions: dict[str, list[Json]] = field(default_factory=dict)
    """Conditions of each job, by its uid."""

    @property
    def of(self) -> Backend:
        """The kind of job, as the launcher knows it."""
        return BACKENDS[self.backend]

    @property
    def container(self) -> str:
        return self.of.container

    def job(self) -> Json:
        """The one job, once it is there."""
        return wait_for(lambda: next(iter(self.jobs()), None))

    def jobs(self) -> list[Json]:
        return self._custom().list_namespaced_custom_object(*self._kind())["items"]

    def start(self, job: Json, replicas: int = 2) -> list[str]:
        """Pods for `job`, all running; their names."""
        names = [self.create_pod(job, number) for number in range(replicas)]
        for name in names:
            self.set_container(name, {"running": {"startedAt": now()}}, phase="Running")
        self.set_condition(job, "Created", "Running")
        return names

    def create_pod(self, job: Json, number: int) -> str:
        """The pod of one worker, pending."""
        assert pytorch_part.refusals(job) == []
        name = self.pod_name(job, number)
        template = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
        labels = {
            "training.kubeflow.org/job-name": job["metadata"]["name"],
            "training.kubeflow.org/replica-type": "worker",
            "training.kubeflow.org/replica-index": str(number),
        }
        spec = template["spec"] | {"restartPolicy": "Never", "nodeName": self.node}
        metadata = {"name": name, "labels": template["metadata"]["labels"] | labels}
        self._core().create_namespaced_pod(self.namespace, {"metadata": metadata, "spec": spec})
        return name

    def replicas(self, job: Json) -> int:
        """Number of pods that the job asks for."""
        asked: int = job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"]
        return asked

    def pod_name(self, job: Json, number: int) -> str:
        """Name that the next pod of one worker has."""
        return f"{job['metadata']['name']}-worker-{number}"

    def container_of(self, job: Json) -> Json:
        """The container of each pod, as the API server gets it."""
        (found,) = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
        return found

    def told(self, job: Json, endpoint: str) -> dict[str, str]:
        """Return what the operator adds to the environment, for a rendezvous at `endpoint`."""
        return pytorch_part.environment(job, endpoint)

    def answer(self, job: Json, exit_code: int, disrupted: bool) -> Answer:
        """Return the answer to a pod that has ended; `disrupted`: whether the cluster took the pod away."""
        return pytorch_part.answer(job, exit_code)

    def ends_others(self, job: Json) -> bool:
        """Return True if the pods that still run when the job ends are deleted."""
        return pytorch_part.taken_away(job, "Running")

    def pod_maker(self, job: Json) -> Json:
        """The object that events about refused pods are about."""
        return {"kind": self.of.kind, "name": job["metadata"]["name"]}

    def rendezvous_id(self, job: Json) -> str:
        return job["spec"]["elasticPolicy"]["rdzvId"]

    def is_suspended(self, job: Json) -> bool:
        return job["spec"]["runPolicy"]["suspend"]

    def put_aside(self, pod: str) -> None:
        """As the operator does with a pod that has failed, before it makes the next one: it is deleted."""
        self.delete_pod(pod)

    def create_other_pod(self, name: str) -> None:
        """A pod that is none of the job's."""
        spec = {"containers": [{"name": "main", "image": "any"}], "automountServiceAccountToken": False}
        self._core().create_namespaced_pod(self.namespace, {"metadata": {"name": name}, "spec": spec})

    def set_container(
        self, pod: str, state: Json, phase: str = "Pending", container: str | None = None, **status: Any
    ) -> None:
        """What the kubelet says of the container, and of the pod."""
        (self.running.add if "running" in state else self.running.discard)(pod)
        image = "registry.example.com/oaml/train:1"
        of_container = {
            "name": container or self.container,
            "state": state,
            "ready": "running" in state,
            "restartCount": 0,
            "image": image,
            "imageID": "",
        }
        self.set_pod(pod, phase=phase, containerStatuses=[of_container], **status)

    def set_pod(self, pod: str, **status: Any) -> None:
        for condition in status.get("conditions", []):
            condition.setdefault("lastTransitionTime", now())
        self._core().patch_namespaced_pod_status(pod, self.namespace, {"status": status})

    def end_container(self, pod: str, exit_code: int, reason: str = "Error", lines: tuple[str, ...] = ()) -> None:
        """The container writes `lines` and ends."""
        self.logs.write(pod, self.container, *lines)
        self.logs.end(pod, self.container)
        ended = {"exitCode": exit_code, "reason": reason, "startedAt": now(), "finishedAt": now()}
        self.set_container(pod, {"terminated": ended}, phase="Failed" if exit_code else "Succeeded")

    def set_condition(self, job: Json, *kinds: str, message: str = "as the operator says") -> None:
        """Let conditions become True, one after the other; what becomes of the others is the operator's rule."""
        self.end_pods(kinds)
        found = self.conditions.get(job["metadata"]["uid"], [])
        for kind in kinds:
            found = pytorch_part.conditions_after(found, kind, message)
        self.conditions[job["metadata"]["uid"]] = found
        self.set_status(job, {"conditions": found})

    def end_pods(self, kinds: tuple[str, ...]) -> None:
        """End pods that run where the job ends: they have ended well, or are taken away."""
        if not {"Succeeded", "Failed"} & set(kinds):
            return
        for pod in list(self.running):
            if "Succeeded" in kinds:
                self.end_container(pod, 0, "Completed")
            else:
                self.delete_pod(pod)

    def set_status(self, job: Json, status: Json) -> None:
        name = job["metadata"]["name"]
        self._custom().patch_namespaced_custom_object_status(*self._kind(), name, {"status": status})

    def warn(self, about: Json, reason: str, message: str) -> None:
        """An event about an object, as a controller or the kubelet writes it."""
        metadata = {"name": f"{about['name']}.{time.time_ns():x}", "namespace": self.namespace}
        involved = {**about, "namespace": self.namespace}
        times = {"firstTimestamp": now(), "lastTimestamp": now(), "count": 1}
        body = {"metadata": metadata, "involvedObject": involved, "type": "Warning", "reason": reason} | times
        self._core().create_namespaced_event(self.namespace, body | {"message": message})

    def queue(self, job: Json, message: str) -> None:
        """The Workload that Kueue makes of a job, with no room for it for this reason."""
        name, uid = f"{self.backend}-{job['metadata']['name']}-{time.time_ns() % 99991:05d}", job["metadata"]["uid"]
        waits = {"type": "QuotaReserved", "status": "False", "reason": "Inadmissible", "message": message}
        body = {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "kind": "Workload",
            "metadata": {"name": name, "labels": {"kueue.x-k8s.io/job-uid": uid}},
            "status": {"conditions": [waits]},
        }
        self._custom().create_namespaced_custom_object("kueue.x-k8s.io", "v1beta2", self.namespace, "workloads", body)

    def ask_to_end(self, pod: str) -> None:
        """Delete a pod that runs, as an eviction does, or a smaller number of replicas: it stays until it has ended."""
        self._core().delete_namespaced_pod(pod, self.namespace)

    def scale(self, job: Json, replicas: int) -> Json:
        """Ask for another number of pods, as `kubectl scale` and an autoscaler do; the job as it is then."""
        name = job["metadata"]["name"]
        body = {"spec": {"replicas": replicas}}
        self._custom().patch_namespaced_custom_object_scale(*self._kind(), name, body)
        return next(each for each in self.jobs() if each["metadata"]["name"] == name)

    def delete_pod(self, pod: str) -> None:
        """Delete a pod, and with it its log."""
        self.running.discard(pod)
        self.logs.forget(pod, self.container)
        self._core().delete_namespaced_pod(pod, self.namespace, grace_period_seconds=0)

    def delete_job(self, job: Json) -> None:
        self._custom().delete_namespaced_custom_object(*self._kind(), job["metadata"]["name"])

    def _kind(self) -> tuple[str, str, str, str]:
        return self.of.group, self.of.version, self.namespace, self.of.plural

    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    def _custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)


def wait_for(look: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """What `look` gives, once it gives something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")
