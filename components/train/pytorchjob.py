"""PyTorchJob (kubeflow.org/v1, training operator 1.9): elastic, Worker-only, with a c10d rendezvous.

The operator gives each pod PET_RDZV_ENDPOINT (`<job>-worker-0:<port>`), PET_RDZV_BACKEND, PET_NNODES (`min:max`) and
PET_NPROC_PER_NODE, which `torchrun` reads.
"""

from __future__ import annotations

from components.cluster import ClusterConfig
from components.train.backend import Backend, JobState, Json, Phase, true_condition
from components.train.pod import is_suspended, job_metadata, pod_template
from components.train.pytorchjob_rules import check_rules
from components.train.run import TrainingRun

PHASES: dict[str, Phase] = {
    "Failed": "failed",
    "Succeeded": "succeeded",
    "Suspended": "suspended",
    "Restarting": "restarting",
    "Running": "running",
}
"""Conditions, those that decide first: several can be True at a time."""
LABEL = "training.kubeflow.org"


class PyTorchJob(Backend):
    """The training operator's job."""

    kind, group, version, plural = "PyTorchJob", "kubeflow.org", "v1", "pytorchjobs"
    container = "pytorch"

    def manifest(self, run: TrainingRun, cluster: ClusterConfig) -> Json:
        worker = {
            "replicas": run.max_nodes,
            # 1 to 127 is a fault that comes back; 128 to 255 is a signal, such as an eviction's or the kernel's.
            "restartPolicy": "ExitCode",
            "template": pod_template(run, cluster, self.container),
        }
        return {
            "apiVersion": f"{self.group}/{self.version}",
            "kind": self.kind,
            "metadata": job_metadata(run, cluster),
            "spec": {
                "nprocPerNode": str(run.nproc),
                "elasticPolicy": _elastic_policy(run, cluster),
                "runPolicy": _run_policy(run, cluster),
                "pytorchReplicaSpecs": {"Worker": worker},
            },
        }

    def check(self, manifest: Json) -> None:
        check_rules(manifest)

    def state(self, job: Json) -> JobState:
        found = true_condition(job, *PHASES)
        return JobState("created") if found is None else JobState(PHASES[found[0]], found[1])

    def pod_selector(self, name: str) -> str:
        return f"{LABEL}/job-name={name}"

    def is_main(self, pod: Json) -> bool:
        # The c10d rendezvous numbers nodes in the order of their host names, and worker-0 comes first.
        result: bool = pod["metadata"].get("labels", {}).get(f"{LABEL}/replica-index") == "0"
        return result


def _elastic_policy(run: TrainingRun, cluster: ClusterConfig) -> Json:
    training = cluster.training
    conf = {"join_timeout": training.join_timeout_seconds, "last_call_timeout": training.last_call_seconds}
    return {
        "minReplicas": run.min_nodes,
        "maxReplicas": run.max_nodes,
        "rdzvBackend": "c10d",
        "rdzvId": run.name,
        "rdzvConf": [{"key": key, "value": str(value)} for key, value in conf.items()],
        "maxRestarts": run.max_restarts,
    }


def _run_policy(run: TrainingRun, cluster: ClusterConfig) -> Json:
    training = cluster.training
    policy: Json = {
        "cleanPodPolicy": training.clean_pods,
        "ttlSecondsAfterFinished": training.ttl_seconds,
        "backoffLimit": training.backoff_limit,
        "suspend": is_suspended(cluster),
    }
    if training.deadline_seconds is not None:
        policy["activeDeadlineSeconds"] = training.deadline_seconds
    if training.gang.enabled:
        scheduling = {
            "minAvailable": training.gang.min_available or run.min_nodes,
            "queue": training.gang.queue,
            "priorityClass": training.priority_class,
            "scheduleTimeoutSeconds": training.gang.schedule_timeout_seconds,
        }
        policy["schedulingPolicy"] = {key: value for key, value in scheduling.items() if value is not None}
    return policy
