"""What a cluster is like: one file (`configs/cluster/*.yaml`) for the pipeline's pods and for the training job.

The compiled pipeline carries the whole of it, so nothing secret belongs there: secrets are named, never given.
Quantities (`500m`, `16Gi`) are Kubernetes' own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from components.object_names import (
    DATA_KEY,
    DNS_LABEL,
    check_bytes,
    check_cores,
    check_image,
    check_label,
    check_limit,
    check_mount,
    check_subdomain,
    check_user,
    check_variables,
)
from components.pods import GangConfig as GangConfig
from components.pods import PodConfig, TrainingConfig, check_metadata
from components.pods import Toleration as Toleration
from components.steps import STEPS
from oaml_core.config import check_leaves
from oaml_core.errors import ConfigError
from oaml_core.settings import dataclass_from_yaml

STEP_SHARED_MEMORY = "2Gi"
MOUNTED = ("/tmp", "/dev/shm")
"""Paths at which pods have volumes of their own."""
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
    if not DNS_LABEL.fullmatch(cluster.namespace):
        raise ConfigError(
            f"namespace is {cluster.namespace!r}; it must be lower-case letters, digits and '-', at most 63."
        )
    for key, name in _names(cluster).items():
        check_subdomain(key, name)
    check_image("registry", cluster.registry)
    if cluster.training.image is not None:
        check_image("training.image", cluster.training.image)
    check_user("run_as_user", cluster.run_as_user)
    check_user("training.fs_group", cluster.training.fs_group)
    _check_environment(cluster)
    for stage in cluster.stages:
        if stage not in STEPS:
            raise ConfigError(f"stages.{stage}: there is no such step; the steps are {', '.join(STEPS)}.")
        _check_gpus(cluster, stage)
    check_metadata("training", cluster.training.job_labels, cluster.training.job_annotations)
    for place, pod in {**{f"stages.{k}": v for k, v in cluster.stages.items()}, "training": cluster.training}.items():
        _check_pod(place, pod)
    if cluster.cache.kind == "pvc" and not cluster.cache.claim:
        raise ConfigError("cache.claim is not set; cache.kind 'pvc' needs the name of a PersistentVolumeClaim.")
    check_bytes("cache.size_limit", cluster.cache.size_limit)
    check_mount("cache.path", cluster.cache.path, MOUNTED)
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


def _names(cluster: ClusterConfig) -> dict[str, str | None]:
    """Return the names of other objects by key; None where none is named."""
    training = cluster.training
    listed = {"config_maps": cluster.config_maps, "secrets": cluster.secrets}
    named: dict[str, str | None] = {
        f"{key}[{n}].name": each.name for key, found in listed.items() for n, each in enumerate(found)
    }
    return {
        **named,
        **{f"image_pull_secrets[{n}]": name for n, name in enumerate(cluster.image_pull_secrets)},
        "cache.claim": cluster.cache.claim,
        "pipeline_service_account": cluster.pipeline_service_account,
        "training.service_account": training.service_account,
        "training.priority_class": training.priority_class,
        "training.scheduler": training.scheduler,
        "training.runtime_class": training.runtime_class,
        "training.runtime": training.runtime,
        "training.queue": training.queue,
        "training.gang.queue": training.gang.queue,
    }


def _check_environment(cluster: ClusterConfig) -> None:
    """Refuse variables and keys that cannot be, and variables that two sources give."""
    origins = {f"training.env.{name}": name for name in cluster.training.env}
    for kind, sources in (("config_maps", cluster.config_maps), ("secrets", cluster.secrets)):
        for n, source in enumerate(sources):
            for key, variable in source.keys.items():
                if not DATA_KEY.fullmatch(key):
                    raise ConfigError(f"{kind}[{n}].keys: {key!r} is no key of a ConfigMap or Secret.")
                origins[f"{kind}[{n}].keys.{key}"] = variable
    check_variables("the cluster file", origins)


def _check_pod(place: str, pod: PodConfig) -> None:
    check_metadata(place, pod.labels, pod.annotations)
    memory, most = (check_bytes(f"{place}.{name}", getattr(pod, name)) for name in ("memory", "memory_limit"))
    check_bytes(f"{place}.shared_memory", pod.shared_memory)
    check_limit(place, "memory", memory, most)
    check_limit(place, "cpu", *(check_cores(f"{place}.{name}", getattr(pod, name)) for name in ("cpu", "cpu_limit")))
    if pod.gpus < 0:
        raise ConfigError(f"{place}.gpus is {pod.gpus}; it must be 0 or more.")
    if "/" not in pod.gpu_resource:
        raise ConfigError(f"{place}.gpu_resource is {pod.gpu_resource!r}; it has a domain, such as nvidia.com/gpu.")
    check_label(f"{place}.gpu_resource", pod.gpu_resource, None)
    for key, value in pod.node_selector.items():
        check_label(f"{place}.node_selector", key, value)
    for toleration in pod.tolerations:
        if toleration.operator == "Exists" and toleration.value is not None:
            raise ConfigError(f"{place}.tolerations: {toleration.key} has a value, so its operator must be Equal.")
        if toleration.key or toleration.operator == "Equal":  # without a key: every taint
            check_label(f"{place}.tolerations", toleration.key, toleration.value)


def _check_counts(place: str, node: object, least: int) -> None:
    for each in fields(node):  # type: ignore[arg-type]
        value = getattr(node, each.name)
        if isinstance(value, int | float) and value < least:
            raise ConfigError(f"{place}.{each.name} is {value}; it must be {least} or more.")


def step_shared_memory(stage: str, pod: PodConfig) -> str | None:
    """Return the size of /dev/shm that the pod of the step `stage` gets; None: the container runtime's."""
    return pod.shared_memory or (STEP_SHARED_MEMORY if STEPS[stage].loads_batches else None)
