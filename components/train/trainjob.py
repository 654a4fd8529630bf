"""TrainJob (trainer.kubeflow.org/v1alpha1, trainer 2.3): of fixed size, over a ClusterTrainingRuntime for torch.

The runtime's plugin gives each pod PET_NNODES, PET_NPROC_PER_NODE, PET_NODE_RANK, PET_MASTER_ADDR and PET_MASTER_PORT,
which `torchrun` reads. A TrainJob has no time to live: `kubectl delete trainjob` removes one that has ended.
"""

from __future__ import annotations

from components.cluster import ClusterConfig
from components.train.backend import Backend, JobState, Json, Phase, true_condition
from components.train.pod import container_extras, environment, labels, pod_extras, resources
from components.train.run import TrainingRun
from oaml_core.errors import ClusterError, ConfigError

PHASES: dict[str, Phase] = {"Failed": "failed", "Complete": "succeeded", "Suspended": "suspended"}
NODES = "node"
"""The replicated job of the trainer's runtimes that trains, and its container."""
MANAGER = "oaml.io/train"


class TrainJob(Backend):
    """The trainer's job."""

    kind, group, version, plural = "TrainJob", "trainer.kubeflow.org", "v1alpha1", "trainjobs"
    container = NODES

    def manifest(self, run: TrainingRun, cluster: ClusterConfig) -> Json:
        _refuse_what_it_lacks(run, cluster)
        training = cluster.training
        spec: Json = {
            "runtimeRef": {"name": training.runtime},
            "suspend": training.suspend,
            "trainer": {
                "image": training.image,
                "command": list(run.arguments[:1]),
                "args": list(run.arguments[1:]),
                "env": environment(run, cluster),
                "numNodes": run.max_nodes,
                "numProcPerNode": run.nproc,
                "resourcesPerNode": resources(training),
            },
            "runtimePatches": [_pod_patch(run, cluster)],
        }
        if training.deadline_seconds is not None:
            spec["activeDeadlineSeconds"] = training.deadline_seconds
        return {
            "apiVersion": f"{self.group}/{self.version}",
            "kind": self.kind,
            "metadata": {"name": run.name, "namespace": cluster.namespace, "labels": labels(run)},
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
        return pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-completion-index") == "0"


def _refuse_what_it_lacks(run: TrainingRun, cluster: ClusterConfig) -> None:
    if run.is_elastic:
        raise ConfigError(
            f"A TrainJob has a fixed size, but train.min_nodes is {run.min_nodes} and train.max_nodes {run.max_nodes}: "
            "make them the same, or set training_backend: pytorchjob in the cluster file."
        )
    lacking = {
        "training.priority_class": cluster.training.priority_class,
        "training.gang": cluster.training.gang.enabled,
    }
    for key, value in lacking.items():
        if value:
            raise ConfigError(f"{key} is no part of a TrainJob: set it in the runtime {cluster.training.runtime!r}.")


def _pod_patch(run: TrainingRun, cluster: ClusterConfig) -> Json:
    spec = pod_extras(cluster)
    del spec["automountServiceAccountToken"]  # no part of what may be patched
    spec["containers"] = [{"name": NODES, **container_extras(cluster)}]
    pods = {"metadata": {"labels": labels(run)}, "spec": spec}
    job = {"name": NODES, "template": {"spec": {"template": pods}}}
    return {"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
