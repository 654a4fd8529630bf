"""The part of the trainer (Kubeflow Trainer 2) and of what it makes: a JobSet, and of it an indexed Job with its pods.

Names and labels are JobSet's (https://jobset.sigs.k8s.io/docs/concepts/) and the Job controller's; states are those
of the TrainJob's CustomResourceDefinition, which knows neither Running nor Restarting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from jobset_part import NODE, Answer, answer, found_before_ready, host, training_job
from operator_part import Json, OperatorPart
from pytorch_part import now

ENDS = {
    "Succeeded": ("Complete", "AllJobsCompleted"),
    "Failed": ("Failed", "FailedJobs"),
    "Suspended": ("Suspended",) * 2,
}
"""Type and reason of the condition, by what the training operator calls it."""


@dataclass
class TrainerPart(OperatorPart):
    """Acts on the TrainJobs of one namespace."""

    backend: ClassVar[str] = "trainjob"
    refuses: ClassVar[str] = "FailedCreate"
    made: dict[str, int] = field(default_factory=dict)
    """Number of pods that were made for a worker, by what their names begin with."""

    def create_pod(self, job: Json, number: int) -> str:
        name = self.pod_name(job, number)
        self.made[_of_worker(job, number)] = self.made.get(_of_worker(job, number), 0) + 1
        template = training_job(job)["template"]
        labels = {
            "jobset.sigs.k8s.io/jobset-name": job["metadata"]["name"],
            "jobset.sigs.k8s.io/replicatedjob-name": NODE,
            "batch.kubernetes.io/job-completion-index": str(number),
        }
        pod_spec = template["spec"] | {"nodeName": self.node}
        metadata = {"name": name, "labels": template["metadata"]["labels"] | labels}
        self._core().create_namespaced_pod(self.namespace, {"metadata": metadata, "spec": pod_spec})
        return name

    def replicas(self, job: Json) -> int:
        spec = training_job(job)
        assert spec["parallelism"] == spec["completions"]
        return int(spec["parallelism"])

    def container_of(self, job: Json) -> Json:
        (found,) = training_job(job)["template"]["spec"]["containers"]
        return found

    def told(self, job: Json, endpoint: str) -> dict[str, str]:
        """What the job's own PET_* variables come to, where the first pod's host is on loopback."""
        told = {
            each["name"]: each["value"] for each in self.container_of(job)["env"] if each["name"].startswith("PET_")
        }
        named, _, port = told["PET_RDZV_ENDPOINT"].rpartition(":")
        assert (named, port.isdigit(), found_before_ready(job)) == (host(job, 0), True, True), "nobody would be found"
        return told | {"PET_RDZV_ENDPOINT": endpoint}

    def answer(self, job: Json, exit_code: int, disrupted: bool) -> Answer:
        return answer(job, exit_code, disrupted)

    def ends_others(self, job: Json) -> bool:
        return True  # what the Job controller does once a policy of success is met

    def pod_name(self, job: Json, number: int) -> str:
        begins = _of_worker(job, number)
        return f"{begins}-x{self.made.get(begins, 0):04d}"

    def pod_maker(self, job: Json) -> Json:
        return {"kind": "Job", "name": f"{job['metadata']['name']}-node-0"}

    def rendezvous_id(self, job: Json) -> str:
        return next(each["value"] for each in job["spec"]["trainer"]["env"] if each["name"] == "PET_RDZV_ID")

    def is_suspended(self, job: Json) -> bool:
        return job["spec"]["suspend"]

    def put_aside(self, pod: str) -> None:
        """Leave it: the Job controller keeps pods that have failed until the Job has ended."""

    def set_condition(self, job: Json, *kinds: str, message: str = "as the operator says") -> None:
        counts = {"active": 0, "failed": 0, "ready": 0, "succeeded": 0, "suspended": 0}
        counts |= {
            "active": int(bool({"Running", "Restarting"} & set(kinds))),
            "ready": int("Running" in kinds),
            "succeeded": int("Succeeded" in kinds),
            "failed": int("Failed" in kinds),
            "suspended": int("Suspended" in kinds),
        }
        conditions = [
            {"type": ENDS[kind][0], "status": "True", "reason": ENDS[kind][1], "message": message}
            | {"lastTransitionTime": now()}
            for kind in kinds
            if kind in ENDS
        ]
        self.end_pods(kinds)
        self.set_status(job, {"conditions": conditions, "jobsStatus": [{"name": "node", **counts}]})


def _of_worker(job: Json, number: int) -> str:
    return f"{job['metadata']['name']}-node-0-{number}"
