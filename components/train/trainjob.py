"""TrainJob (trainer.kubeflow.org/v1alpha1, trainer 2.3), elastic over a ClusterTrainingRuntime of OAML's own.

That runtime (k8s/trainer) leaves the trainer's torch plugin out, which fixes the number of nodes and refuses PET_*
variables of ours. The job gives `torchrun` what an elastic PyTorchJob gets from its operator: PET_NNODES as a range,
and a c10d rendezvous at the first pod. Over a runtime for torch (`torch-distributed`) a job has a fixed size. A
TrainJob has no time to live: `kubectl delete trainjob` removes one that has ended.
"""

from __future__ import annotations

from dataclasses import replace

from components.cluster import ClusterConfig
from components.train.backend import Backend, JobState, Json, Phase, true_condition
from components.train.pod import (
    container_extras,
    environment,
    is_suspended,
    job_metadata,
    pod_extras,
    pod_metadata,
    resources,
)
from components.train.run import TrainingRun, job_name
from oaml_core.errors import ClusterError, ConfigError

PHASES: dict[str, Phase] = {"Failed": "failed", "Complete": "succeeded", "Suspended": "suspended"}
NODES = "node"
"""The replicated job of the trainer's runtimes that trains, and its container."""
MANAGER = "oaml.io/train"
ELASTIC = "oaml-elastic"
"""The runtime in k8s/trainer."""
PORT = 29400
LONGEST_NAME = 46
"""Most characters of a job's name: `<job>-node-0-<number>-<5 characters>` is then a DNS label of at most 63."""


class TrainJob(Backend):
    """The trainer's job."""

    kind, group, version, plural = "TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs"
    container = NODES

    def manifest(self, run: TrainingRun, cluster: ClusterConfig) -> Json:
        run = replace(run, name=job_name(run.name, LONGEST_NAME))
        _refuse_what_it_lacks(run, cluster)
        training, elastic = cluster.training, cluster.training.runtime == ELASTIC
        spec: Json = {
            "runtimeRef": {"name": training.runtime, "kind": "ClusterTrainingRuntime", "apiGroup": self.group},
            "suspend": is_suspended(cluster),
            "trainer": {
                "image": training.image,
                "command": list(run.arguments[:1]),
                "args": list(run.arguments[1:]),
                "env": [*environment(run, cluster), *(_rendezvous(run, cluster) if elastic else [])],
                "numNodes": run.max_nodes,
                **({} if elastic else {"numProcPerNode": run.nproc}),
                "resourcesPerNode": resources(training),
            },
            "runtimePatches": [_pod_patch(run, cluster)],
        }
        if training.deadline_seconds is not None:
            spec["activeDeadlineSeconds"] = training.deadline_seconds
        return {
            "apiVersion": f"{self.group}/{self.version}",
            "kind": self.kind,
            "metadata": job_metadata(run, cluster),
            "spec": spec,
        }

    def check(self, manifest: Json) -> None:
        if not manifest["spec"]["trainer"].get("image"):
            raise ClusterError("spec.trainer has no image: see training.image.")

    def state(self, job: Json) -> JobState:
        if found := true_condition(job, *PHASES):
            return JobState(PHASES[found[0]], found[1])
        active = any(each.get("active") for each in job.get("status", {}).get("jobsStatus") or [])
        return JobState("running" if active else "created")

    def pod_selector(self, name: str) -> str:
        return f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name={NODES}"

    def is_main(self, pod: Json) -> bool:
        result: bool = pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-completion-index") == "0"
        return result


def _refuse_what_it_lacks(run: TrainingRun, cluster: ClusterConfig) -> None:
    training = cluster.training
    if run.is_elastic and training.runtime != ELASTIC:
        raise ConfigError(
            f"A TrainJob of the runtime {training.runtime!r} has a fixed size, but train.min_nodes is {run.min_nodes} "
            f"and train.max_nodes {run.max_nodes}: make them the same, or set training.runtime: {ELASTIC} "
            "(k8s/trainer) or training_backend: pytorchjob in the cluster file."
        )
    lacking = {
        "training.priority_class": training.priority_class,
        "training.gang": training.gang.enabled,
        "training.scheduler": training.scheduler,
        "training.runtime_class": training.runtime_class,
    }
    for key, value in lacking.items():
        if value:
            raise ConfigError(f"{key} is no part of a TrainJob: set it in the runtime {training.runtime!r}.")


def _rendezvous(run: TrainingRun, cluster: ClusterConfig) -> list[Json]:
    """Return what `torchrun` reads: nodes from `min_nodes` to `max_nodes` meet at the first pod."""
    training = cluster.training
    conf = {"join_timeout": training.join_timeout_seconds, "last_call_timeout": training.last_call_seconds}
    values = {
        "PET_NNODES": f"{run.min_nodes}:{run.max_nodes}",
        "PET_NPROC_PER_NODE": str(run.nproc),
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ID": run.name,
        # A pod's host is <job>-<replicated job>-<job's number>-<pod's number>, in a domain named like the job.
        "PET_RDZV_ENDPOINT": f"{run.name}-{NODES}-0-0.{run.name}:{PORT}",
        "PET_RDZV_CONF": ",".join(f"{key}={value}" for key, value in conf.items()),
        "PET_MAX_RESTARTS": str(run.max_restarts),
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _pod_patch(run: TrainingRun, cluster: ClusterConfig) -> Json:
    spec = pod_extras(cluster)
    del spec["automountServiceAccountToken"]  # no part of what may be patched
    spec["containers"] = [{"name": NODES, **container_extras(cluster)}]
    pods = {"metadata": pod_metadata(run, cluster), "spec": spec}
    job = {"name": NODES, "template": {"spec": {"template": pods}}}
    return {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
