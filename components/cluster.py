"""What a cluster is like: one file (`configs/cluster/*.yaml`) for the pipeline's pods and for the training job.

The compiled pipeline carries the whole of it, so nothing secret belongs there: secrets are named, never given.
Quantities (`500m`, `16Gi`) are Kubernetes' own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from oaml_core.errors import ConfigError
from oaml_core.settings import dataclass_from_yaml

QUANTITY = re.compile(r"\d+(\.\d+)?([munkKMGTPE]|[KMGTPE]i)?")
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents."""
CPU = re.compile(r"\d+(\.\d+)?|\d+m")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
GPU_STAGES = ("train", "evaluate", "train-prior", "evaluate-prior")
"""Steps that a GPU makes faster; `train` in its own pod only with `training_backend: local`."""
STAGES = ("preprocess", "train", "evaluate", "gate", "export", "promote", "train-prior", "evaluate-prior")


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
    """What a pod may take, and where it may run."""

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


@dataclass(frozen=True)
class EnvironmentConfig:
    """A ConfigMap or Secret of the namespace whose values become environment variables."""

    name: str
    """Its name."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key in it → environment variable."""


@dataclass(frozen=True)
class CacheConfig:
    """Where pods keep the data set and the run in progress."""

    kind: Literal["empty_dir", "pvc", "none"] = "empty_dir"
    """`empty_dir` lives as long as the pod; `pvc` is shared and stays, and workers on several nodes need it to be
    ReadWriteMany."""
    claim: str | None = None
    """Name of the PersistentVolumeClaim (`pvc`)."""
    size_limit: str = "100Gi"
    """Most that it may hold (`empty_dir`)."""
    path: str = "/oaml/.oaml"
    """Where it is mounted; the images' working directory and the default of `work_dir` lead there."""


@dataclass(frozen=True)
class RetryConfig:
    """How often a pipeline step is tried again, where that can help."""

    count: int = 2
    """Further tries after the first."""
    backoff_seconds: int = 60
    """Seconds before the second try."""
    backoff_factor: float = 2.0
    """By which each further wait is longer."""
    backoff_max_seconds: int = 600
    """Longest wait in seconds."""


@dataclass(frozen=True)
class GangConfig:
    """Start all workers or none; wants a gang scheduler (Volcano, coscheduling) in the training operator."""

    enabled: bool = False
    """Whether to."""
    min_available: int | None = None
    """Workers that must find room together; None: `train.min_nodes`."""
    queue: str | None = None
    """Queue of the scheduler."""
    schedule_timeout_seconds: int | None = None
    """Seconds after which the scheduler gives up."""


@dataclass(frozen=True)
class TrainingConfig(PodConfig):
    """The training job: one pod a node of the run. How many: `train.min_nodes` and `train.max_nodes` of the recipe."""

    cpu: str = "4"
    memory: str = "16Gi"
    affinity: dict[str, Any] = field(default_factory=dict)
    """Affinity of the pods, as Kubernetes writes it."""
    priority_class: str | None = None
    """PriorityClass of the pods."""
    shared_memory: str = "2Gi"
    """Size of /dev/shm, through which the loader's processes pass batches; it counts as memory of the pod."""
    env: dict[str, str] = field(default_factory=dict)
    """Further environment variables, such as NCCL_SOCKET_IFNAME."""
    termination_grace_seconds: int = 120
    """Seconds between SIGTERM and SIGKILL: a batch, and writing and uploading a checkpoint, must fit."""
    join_timeout_seconds: int = 1800
    """Seconds that workers wait for `train.min_nodes` of them: pulling the image and new nodes must fit."""
    last_call_seconds: int = 30
    """Seconds that those who are there wait for more, once they are `train.min_nodes`."""
    backoff_limit: int = 20
    """Worker pods that may fail before the job does."""
    deadline_seconds: int | None = None
    """Longest time that the job may take, in seconds; None: any."""
    ttl_seconds: int = 86400
    """Seconds after its end at which the job is removed."""
    clean_pods: Literal["Running", "All", "None"] = "Running"
    """Pods that are removed when the job ends."""
    suspend: bool = False
    """Create the job suspended, for a queueing controller (Kueue) to admit."""
    start_patience_seconds: int = 300
    """Seconds that an image which cannot be pulled, or a missing Secret, is given before the job is cancelled."""
    gang: GangConfig = field(default_factory=GangConfig)
    runtime: str = "torch-distributed"
    """ClusterTrainingRuntime of a TrainJob."""
    image: str | None = None
    """Image of the workers; None: that of the train step."""


@dataclass(frozen=True)
class ClusterConfig:
    """One cluster, whole."""

    namespace: str = "oaml"
    """Namespace of the pods, the training job and the Secrets."""
    registry: str = "oaml"
    """Where the images are: `registry.example.com/team`."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull an image that they have."""
    image_pull_secrets: list[str] = field(default_factory=list)
    """Secrets with the registry's credentials."""
    run_as_user: int = 1000
    """Number of the user and group that all processes run as; the images are made for 1000."""
    training_backend: Literal["pytorchjob", "trainjob", "local"] = "pytorchjob"
    """What starts the workers: PyTorchJob (elastic), TrainJob (fixed size), or the train step itself, in its pod."""
    config_maps: list[EnvironmentConfig] = field(default_factory=list)
    """ConfigMaps that all pods get as environment variables."""
    secrets: list[EnvironmentConfig] = field(default_factory=list)
    """Secrets that all pods get as environment variables."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    retries: RetryConfig = field(default_factory=RetryConfig)
    stages: dict[str, PodConfig] = field(default_factory=dict)
    """Pods of the pipeline's steps, by step; `train` is the pod that follows the job."""
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check(self)


def load_cluster(path: Path) -> ClusterConfig:
    """The cluster that the file at `path` describes.

    Raises:
        ConfigError: the file is missing, or a key or value in it does not exist or cannot work.
    """
    if not path.is_file():
        raise ConfigError(f"There is no cluster file {path}. Those that come with OAML lie in configs/cluster/.")
    try:
        return dataclass_from_yaml(ClusterConfig, path.read_text(), "It")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def check(cluster: ClusterConfig) -> None:
    """Refuse values that no cluster accepts, naming the key to change.

    Raises:
        ConfigError: as said.
    """
    for key, name in {"namespace": cluster.namespace, **_names(cluster)}.items():
        if not DNS_LABEL.fullmatch(name):
            raise ConfigError(f"{key} is {name!r}; it must be lower-case letters, digits and '-', at most 63.")
    for stage in cluster.stages:
        if stage not in STAGES:
            raise ConfigError(f"stages.{stage}: there is no such step; the steps are {', '.join(STAGES)}.")
        _check_gpus(cluster, stage)
    for place, pod in {**{f"stages.{k}": v for k, v in cluster.stages.items()}, "training": cluster.training}.items():
        _check_pod(place, pod)
    if cluster.cache.kind == "pvc" and not cluster.cache.claim:
        raise ConfigError("cache.claim is not set; cache.kind 'pvc' needs the name of a PersistentVolumeClaim.")
    _check_quantity("cache.size_limit", cluster.cache.size_limit)
    _check_quantity("training.shared_memory", cluster.training.shared_memory)
    _check_counts("training", cluster.training, least=0)
    _check_counts("retries", cluster.retries, least=0)


def _check_gpus(cluster: ClusterConfig, stage: str) -> None:
    follows = stage == "train" and cluster.training_backend != "local"
    if cluster.stages[stage].gpus and (follows or stage not in GPU_STAGES):
        place = "training.gpus is what its job gets" if follows else f"{', '.join(GPU_STAGES[1:])} do"
        raise ConfigError(f"stages.{stage}.gpus: the step {stage} makes no use of a GPU; {place}.")


def _names(cluster: ClusterConfig) -> dict[str, str]:
    listed = {"config_maps": cluster.config_maps, "secrets": cluster.secrets}
    named = {f"{key}[{n}].name": each.name for key, found in listed.items() for n, each in enumerate(found)}
    return named | {f"image_pull_secrets[{n}]": name for n, name in enumerate(cluster.image_pull_secrets)}


def _check_pod(place: str, pod: PodConfig) -> None:
    for name in ("memory", "memory_limit"):
        _check_quantity(f"{place}.{name}", getattr(pod, name))
    for name in ("cpu", "cpu_limit"):
        if (cores := getattr(pod, name)) is not None and not CPU.fullmatch(cores):
            raise ConfigError(f"{place}.{name} is {cores!r}; it must be a number of cores such as 4, 0.5 or 500m.")
    if pod.gpus < 0:
        raise ConfigError(f"{place}.gpus is {pod.gpus}; it must be 0 or more.")
    for toleration in pod.tolerations:
        if toleration.operator == "Exists" and toleration.value is not None:
            raise ConfigError(f"{place}.tolerations: {toleration.key} has a value, so its operator must be Equal.")


def _check_quantity(key: str, value: str | None) -> None:
    if value is not None and not QUANTITY.fullmatch(value):
        raise ConfigError(f"{key} is {value!r}; it must be a quantity such as 512Mi or 16Gi.")


def _check_counts(place: str, node: object, least: int) -> None:
    for each in fields(node):  # type: ignore[arg-type]
        value = getattr(node, each.name)
        if isinstance(value, int | float) and value < least:
            raise ConfigError(f"{place}.{each.name} is {value}; it must be {least} or more.")
