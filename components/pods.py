"""Sections of a cluster file that describe pods: those of the pipeline's steps and those of the training job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from components.object_names import check_label
from oaml_core.errors import ConfigError

OWN_PREFIXES = ("oaml.io/", "app.kubernetes.io/", "training.kubeflow.org/", "pipelines.kubeflow.org/")
"""Beginnings of labels that OAML, Kubeflow and the operators set themselves."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Label of a job that Kueue is to admit: https://kueue.sigs.k8s.io/docs/tasks/run/jobs/"""
NO_SIDECAR = {"sidecar.istio.io/inject": "false"}
"""Label, and annotation for older versions, of a pod that Istio leaves alone: a sidecar that goes on running keeps a
training job that has ended at work for ever."""


@dataclass(frozen=True)
class Toleration:
    """A taint that pods may run beside."""

    key: str
    """Key of the taint, such as `nvidia.com/gpu`."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """`Equal`: the taint's value must be `value`."""
    value: str | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; None: all of them."""


@dataclass(frozen=True)
class PodConfig:
    """Resources of a pod, and the nodes it may run on."""

    cpu: str = "1"
    """CPU cores asked for."""
    cpu_limit: str | None = None
    """Most CPU cores; None: no limit."""
    memory: str = "2Gi"
    """Memory asked for, in bytes."""
    memory_limit: str | None = None
    """Most memory, above which the pod is killed; None: what is asked for."""
    gpus: int = 0
    """GPUs."""
    gpu_resource: str = "nvidia.com/gpu"
    """Name that the device plugin gives to a GPU."""
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: list[Toleration] = field(default_factory=list)
    """Taints that the pod may run beside."""
    labels: dict[str, str] = field(default_factory=dict)
    """Further labels of the pod."""
    annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the pod, such as `k8s.v1.cni.cncf.io/networks: rdma` for a second network card."""
    shared_memory: str | None = None
    """Size of /dev/shm, through which the loader's processes pass batches; it counts as memory of the pod. None: 2Gi
    for steps that load batches, else what the container runtime gives (64 MiB)."""


@dataclass(frozen=True)
class GangConfig:
    """Start all workers or none; wants a gang scheduler (Volcano, coscheduling) in the training operator."""

    enabled: bool = False
    """Start all workers together, or none of them."""
    min_available: int | None = None
    """Workers that must find room together; None: `train.min_nodes`."""
    queue: str | None = None
    """Queue of the scheduler."""
    schedule_timeout_seconds: int | None = None
    """Seconds after which the scheduler gives up."""


@dataclass(frozen=True)
class TrainingConfig(PodConfig):
    """Training job: one pod per node of the run; the recipe's `train.min_nodes` and `train.max_nodes` say how many."""

    cpu: str = "4"
    memory: str = "16Gi"
    affinity: dict[str, Any] = field(default_factory=dict)
    """Affinity of the pods, as Kubernetes writes it."""
    priority_class: str | None = None
    """PriorityClass of the pods."""
    shared_memory: str | None = "2Gi"
    job_labels: dict[str, str] = field(default_factory=dict)
    """Labels of the job itself."""
    job_annotations: dict[str, str] = field(default_factory=dict)
    """Annotations of the job itself."""
    queue: str | None = None
    """LocalQueue of Kueue; the job is created suspended, and Kueue admits it."""
    service_account: str | None = None
    """ServiceAccount of the pods, for workload identity; its token is not mounted. None: `default`."""
    scheduler: str | None = None
    """Scheduler of the pods; None: the cluster's own."""
    runtime_class: str | None = None
    """RuntimeClass of the pods, such as `nvidia`."""
    fs_group: int | None = None
    """Group that volumes belong to; None: `run_as_user`."""
    env: dict[str, str] = field(default_factory=dict)
    """Further environment variables, such as NCCL_SOCKET_IFNAME."""
    termination_grace_seconds: int = 120
    """Seconds between SIGTERM and SIGKILL: a batch, and writing and uploading a checkpoint, must fit."""
    join_timeout_seconds: int = 1800
    """Seconds that workers wait for `train.min_nodes` of them: pulling the image and new nodes must fit."""
    last_call_seconds: int = 30
    """Seconds that those who are there wait for more, once they are `train.min_nodes`."""
    backoff_limit: int = 20
    """Restarts of worker pods after which the launcher ends the job: operators do not count those after a signal."""
    deadline_seconds: int | None = 604800
    """Longest time that the job may take, in seconds; None: any."""
    ttl_seconds: int = 86400
    """Seconds after its end at which the job is removed."""
    clean_pods: Literal["Running", "All", "None"] = "Running"
    """Pods that are removed when the job ends."""
    suspend: bool = False
    """Create the job suspended, for a queueing controller (Kueue) to admit."""
    start_patience_seconds: int = 300
    """Seconds that an image which cannot be pulled, a missing Secret or a queue that is not there is given.

    The job is cancelled then.
    """
    gang: GangConfig = field(default_factory=GangConfig)
    runtime: str = "oaml-elastic"
    """ClusterTrainingRuntime of a TrainJob: OAML's own (k8s/trainer), or one for torch, of fixed size."""
    image: str | None = None
    """Image of the workers; None: that of the train step."""


OWN_LABEL = "oaml.io/role"
"""Label of every pod of OAML, which network policies select by: `step` or `worker`."""


def own_labels(role: Literal["step", "worker"]) -> dict[str, str]:
    """Return the labels by which network policies and people find OAML's pods of this role."""
    return {"app.kubernetes.io/part-of": "oaml", OWN_LABEL: role}


def sidecar_metadata(wanted: bool) -> dict[str, str]:
    """Return what keeps Istio's sidecar out of a pod, as label and annotation alike; empty where it is wanted."""
    return {} if wanted else dict(NO_SIDECAR)


def check_metadata(place: str, labels: dict[str, str], annotations: dict[str, str]) -> None:
    """Refuse labels and annotations that Kubernetes refuses, or that belong to somebody else.

    Args:
        place: key of the cluster file that they stand below, such as `training`.

    Raises:
        ConfigError: names the key to change.
    """
    for key in annotations:
        check_label(place, key, None)
    for key, value in labels.items():
        check_label(f"{place}.labels", key, value)
        if key.startswith(OWN_PREFIXES):
            raise ConfigError(f"{place}.labels: {key} is set by OAML, Kubeflow or the operator; use a key of your own.")
