"""The pod of one node of a training run."""

from __future__ import annotations

from typing import Any

from components.cluster import ClusterConfig
from components.pods import QUEUE_LABEL, PodConfig, own_labels, sidecar_metadata
from components.train.run import TrainingRun
from oaml_core.stages.present_night import IN_PIPELINE

Json = dict[str, Any]
SHUTDOWN_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""Environment variable of torchrun: seconds that it gives workers to end after SIGTERM; 30 without it."""
AGENT_SECONDS = 10
"""Seconds of a pod's grace that are left to torchrun and the launcher, once the workers have ended."""


def labels(run: TrainingRun) -> Json:
    """Return labels of the job and its pods."""
    return {
        "app.kubernetes.io/name": "oaml",
        "app.kubernetes.io/component": "train",
        "app.kubernetes.io/instance": run.name,
    }


def job_metadata(run: TrainingRun, cluster: ClusterConfig) -> Json:
    """Return the metadata of the job."""
    training = cluster.training
    queue = {} if training.queue is None else {QUEUE_LABEL: training.queue}
    found = {
        "name": run.name,
        "namespace": cluster.namespace,
        "labels": {**training.job_labels, **queue, **labels(run)},
        "annotations": dict(training.job_annotations),
    }
    return {key: value for key, value in found.items() if value}


def is_suspended(cluster: ClusterConfig) -> bool:
    """Return True if the job is created suspended, for a queueing controller to admit."""
    return cluster.training.suspend or cluster.training.queue is not None


def pod_metadata(run: TrainingRun, cluster: ClusterConfig) -> Json:
    """Return the metadata of the pods of one node."""
    training, no_sidecar = cluster.training, sidecar_metadata(cluster.istio_sidecar)
    annotations = {**no_sidecar, **training.annotations}
    found = {"labels": {**no_sidecar, **training.labels, **labels(run), **own_labels("worker")}}
    return found | ({"annotations": annotations} if annotations else {})


def pod_template(run: TrainingRun, cluster: ClusterConfig, container_name: str) -> Json:
    """Template of the pods, for jobs whose operator takes a whole one."""
    training = cluster.training
    container = {
        "name": container_name,
        "image": training.image,
        "imagePullPolicy": cluster.image_pull_policy,
        "command": list(run.arguments[:1]),
        "args": list(run.arguments[1:]),
        "env": environment(run, cluster),
        "resources": resources(training),
        **container_extras(cluster),
    }
    named = {
        "priorityClassName": training.priority_class,
        "schedulerName": training.scheduler,
        "runtimeClassName": training.runtime_class,
    }
    spec = pod_extras(cluster) | {key: value for key, value in named.items() if value} | {"containers": [container]}
    return {"metadata": pod_metadata(run, cluster), "spec": spec}


def environment(run: TrainingRun, cluster: ClusterConfig) -> list[Json]:
    """Plain variables first, then those from ConfigMaps and Secrets."""
    plain = {
        "HOME": "/tmp",
        "OMP_NUM_THREADS": str(max(1, int(_cores(cluster.training.cpu)) // run.nproc)),
        "PYTHONUNBUFFERED": "1",
        SHUTDOWN_VARIABLE: str(max(1, cluster.training.termination_grace_seconds - AGENT_SECONDS)),
        IN_PIPELINE: "1",
        **cluster.training.env,
    }
    referred = {
        variable: {kind: {"name": source.name, "key": key}}
        for kind, sources in (("configMapKeyRef", cluster.config_maps), ("secretKeyRef", cluster.secrets))
        for source in sources
        for key, variable in source.keys.items()
    }
    return [
        *({"name": name, "value": value} for name, value in plain.items()),
        *({"name": name, "valueFrom": source} for name, source in referred.items()),
    ]


def resources(pod: PodConfig) -> Json:
    """Requests and limits; memory is always limited, since what goes beyond harms the node's other pods."""
    requests: Json = {"cpu": pod.cpu, "memory": pod.memory}
    limits: Json = {"memory": pod.memory_limit or pod.memory}
    if pod.cpu_limit:
        limits["cpu"] = pod.cpu_limit
    if pod.gpus:
        requests[pod.gpu_resource] = limits[pod.gpu_resource] = str(pod.gpus)
    return {"requests": requests, "limits": limits}


def container_extras(cluster: ClusterConfig) -> Json:
    """Mounts and security context of the container."""
    mounts = {"scratch": "/tmp", "shared-memory": "/dev/shm"}
    if cluster.cache.kind != "none":
        mounts["cache"] = cluster.cache.path
    return {
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts.items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def pod_extras(cluster: ClusterConfig) -> Json:
    """Placement, volumes and identity of the pod. Workers talk to the store, never to the API server: no token."""
    training = cluster.training
    optional = {
        "nodeSelector": training.node_selector,
        "tolerations": [_toleration(vars(each)) for each in training.tolerations],
        "affinity": training.affinity,
        "serviceAccountName": training.service_account,
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
    }
    return {key: value for key, value in optional.items() if value} | {
        "terminationGracePeriodSeconds": training.termination_grace_seconds,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": cluster.run_as_user != 0,
            "runAsUser": cluster.run_as_user,
            "runAsGroup": cluster.run_as_user,
            "fsGroup": cluster.run_as_user if training.fs_group is None else training.fs_group,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": _volumes(cluster),
    }


def _volumes(cluster: ClusterConfig) -> list[Json]:
    shared: Json = {"medium": "Memory"}
    if cluster.training.shared_memory:
        shared["sizeLimit"] = cluster.training.shared_memory
    volumes: list[Json] = [{"name": "scratch", "emptyDir": {}}, {"name": "shared-memory", "emptyDir": shared}]
    if cluster.cache.kind == "pvc":
        volumes.append({"name": "cache", "persistentVolumeClaim": {"claimName": cluster.cache.claim}})
    elif cluster.cache.kind == "empty_dir":
        volumes.append({"name": "cache", "emptyDir": {"sizeLimit": cluster.cache.size_limit}})
    return volumes


def _toleration(values: Json) -> Json:
    return {key: value for key, value in values.items() if value is not None}


def _cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)
