"""What a cluster is like: one file (`configs/cluster/*.yaml`) for the pipeline's pods and for the training job.

The compiled pipeline carries the whole of it, so nothing secret belongs there: secrets are named, never given.
Quantities (`500m`, `16Gi`) are Kubernetes' own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from components.pods import GangConfig as GangConfig
from components.pods import PodConfig, TrainingConfig, check_metadata
from components.pods import Toleration as Toleration
from components.steps import STEPS
from oaml_core.config import check_leaves
from oaml_core.errors import ConfigError
from oaml_core.settings import dataclass_from_yaml

QUANTITY = re.compile(r"\d+(\.\d+)?([munkKMGTPE]|[KMGTPE]i)?")
"""https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/, without exponents."""
CPU = re.compile(r"\d+(\.\d+)?|\d+m")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
STEP_SHARED_MEMORY = "2Gi"
GPU_STAGES = tuple(name for name, step in STEPS.items() if step.uses_gpu)
"""Steps that a GPU makes faster; `train` in its own pod only with `training_backend: local`."""

SHARD_COUNTS = ("shards", "shards_at_a_time", "evaluation_shards", "evaluation_shards_at_a_time")
"""Keys that say how steps share work out."""


@dataclass(frozen=True)
class EnvironmentConfig:
    """A ConfigMap or Secret of the namespace whose values become environment variables."""

    name: str
    """Its name."""
    keys: dict[str, str] = field(default_factory=dict)
    """Key in it → environment variable."""


@dataclass(frozen=True)
class CacheConfig:
    """The place where pods keep the data set and the run in progress."""

    kind: Literal["empty_dir", "pvc", "none"] = "empty_dir"
    """`empty_dir` lives as long as the pod; `pvc` is shared and stays, and workers on several nodes need it to be
    ReadWriteMany."""
    claim: str | None = None
    """Name of the PersistentVolumeClaim (`pvc`)."""
    size_limit: str = "100Gi"
    """Most that it may hold (`empty_dir`)."""
    path: str = "/oaml/.oaml"
    """Path at which it is mounted; the images' working directory and the default of `work_dir` lead there."""


@dataclass(frozen=True)
class RetryConfig:
    """The number of times that a pipeline step is tried again, where that can help."""

    count: int = 2
    """Further tries after the first."""
    backoff_seconds: int = 60
    """Seconds before the second try."""
    backoff_factor: float = 2.0
    """Factor by which each further wait is longer."""
    backoff_max_seconds: int = 600
    """Longest wait in seconds."""


@dataclass(frozen=True)
class ClusterConfig:
    """One cluster, whole."""

    namespace: str = "oaml"
    """Namespace of the pods, the training job and the Secrets."""
    registry: str = "oaml"
    """Registry of the images: `registry.example.com/team`."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Rule for pulling an image that a node has."""
    image_pull_secrets: list[str] = field(default_factory=list)
    """Secrets with the registry's credentials."""
    run_as_user: int = 1000
    """Number of the user and group that all processes run as; the images are made for 1000."""
    training_backend: Literal["auto", "pytorchjob", "trainjob", "local"] = "auto"
    """Kind of object that starts the workers: PyTorchJob, TrainJob, or the train step itself, in its pod; `auto`: the
    kind that the cluster serves, PyTorchJob first."""
    pipeline_service_account: str | None = None
    """ServiceAccount of the steps, for workload identity; None: Kubeflow's own choice."""
    istio_sidecar: bool = False
    """Let Istio put a sidecar into steps and workers. A sidecar that is no native one keeps a finished job running."""
    config_maps: list[EnvironmentConfig] = field(default_factory=list)
    """ConfigMaps that all pods get as environment variables."""
    secrets: list[EnvironmentConfig] = field(default_factory=list)
    """Secrets that all pods get as environment variables."""
    cache: CacheConfig = field(default_factory=CacheConfig)
    shards: int = 1
    """Pods that look at the training images side by side, each at an equal share; 1: the step `preprocess` alone."""
    shards_at_a_time: int = 8
    """Most of these pods at a time."""
    evaluation_shards: int = 1
    """Pods that score verification pairs side by side, each an equal share; 1: the step `evaluate` alone."""
    evaluation_shards_at_a_time: int = 8
    """Most of these pods at a time."""
    retries: RetryConfig = field(default_factory=RetryConfig)
    stages: dict[str, PodConfig] = field(default_factory=dict)
    """Pods of the pipeline's steps, by step; `train` is the pod that follows the job."""
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        check(self)


def load_cluster(path: Path) -> ClusterConfig:
    """Return the cluster that the file at `path` describes.

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
    check_leaves(cluster)
    for key, name in {"namespace": cluster.namespace, **_names(cluster)}.items():
        if not DNS_LABEL.fullmatch(name):
            raise ConfigError(f"{key} is {name!r}; it must be lower-case letters, digits and '-', at most 63.")
    for stage in cluster.stages:
        if stage not in STEPS:
            raise ConfigError(f"stages.{stage}: there is no such step; the steps are {', '.join(STEPS)}.")
        _check_gpus(cluster, stage)
    for key, account in {
        "pipeline_service_account": cluster.pipeline_service_account,
        "training.service_account": cluster.training.service_account,
    }.items():
        if account is not None and not DNS_LABEL.fullmatch(account):
            raise ConfigError(f"{key} is {account!r}; it must be lower-case letters, digits and '-', at most 63.")
    check_metadata("training", cluster.training.job_labels, cluster.training.job_annotations)
    for place, pod in {**{f"stages.{k}": v for k, v in cluster.stages.items()}, "training": cluster.training}.items():
        _check_pod(place, pod)
    if cluster.cache.kind == "pvc" and not cluster.cache.claim:
        raise ConfigError("cache.claim is not set; cache.kind 'pvc' needs the name of a PersistentVolumeClaim.")
    _check_quantity("cache.size_limit", cluster.cache.size_limit)
    _check_counts("training", cluster.training, least=0)
    _check_counts("retries", cluster.retries, least=0)
    for key in SHARD_COUNTS:
        if (count := getattr(cluster, key)) < 1:
            raise ConfigError(f"{key} is {count}; it must be 1 or more.")


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
    check_metadata(place, pod.labels, pod.annotations)
    for name in ("memory", "memory_limit", "shared_memory"):
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


def step_shared_memory(stage: str, pod: PodConfig) -> str | None:
    """Return the size of /dev/shm that the pod of the step `stage` gets; None: the container runtime's."""
    return pod.shared_memory or (STEP_SHARED_MEMORY if STEPS[stage].loads_batches else None)
