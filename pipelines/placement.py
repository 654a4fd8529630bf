"""Where the pipeline's steps run on a cluster, with what, and how often they are tried again."""

from __future__ import annotations

from kfp import dsl, kubernetes

from components.cluster import ClusterConfig, step_shared_memory
from components.images import image_of_step
from components.pods import PodConfig, own_labels, sidecar_metadata
from components.steps import STEPS
from oaml_core.stages.present_night import IN_PIPELINE


def place(cluster: ClusterConfig | None, *tasks: dsl.PipelineTask) -> None:
    """Give each task what `components.steps` and the cluster file say of the step of its name.

    Args:
        cluster: None: the steps run on this machine, where images, resources and secrets mean nothing.
        tasks: tasks of one graph.
    """
    for task in tasks:
        task.set_caching_options(STEPS[task.name].cached)
        if cluster is not None:
            _place(task, task.name, cluster)


def _place(task: dsl.PipelineTask, stage: str, cluster: ClusterConfig) -> None:
    pod = cluster.stages.get(stage) or cluster.stages.get(STEPS[stage].like or "", PodConfig())
    task.set_container_image(image_of_step(stage, cluster.registry, pod.gpus))
    _set_resources(task, pod)
    _set_node(task, pod)
    _set_metadata(task, stage, pod, cluster)
    _set_environment(task, cluster)
    if size := step_shared_memory(stage, pod):
        kubernetes.empty_dir_mount(
            task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit=size
        )
    retries = cluster.retries
    task.set_retry(
        num_retries=retries.count,
        backoff_duration=f"{retries.backoff_seconds}s",
        backoff_factor=retries.backoff_factor,
        backoff_max_duration=f"{retries.backoff_max_seconds}s",
    )


def _set_resources(task: dsl.PipelineTask, pod: PodConfig) -> None:
    task.set_cpu_request(pod.cpu).set_memory_request(pod.memory)
    task.set_memory_limit(pod.memory_limit or pod.memory)
    if pod.cpu_limit:
        task.set_cpu_limit(pod.cpu_limit)
    if pod.gpus:
        task.set_accelerator_type(pod.gpu_resource).set_accelerator_limit(pod.gpus)


def _set_node(task: dsl.PipelineTask, pod: PodConfig) -> None:
    for key, value in sorted(pod.node_selector.items()):
        kubernetes.add_node_selector(task, label_key=key, label_value=value)
    for each in pod.tolerations:
        kubernetes.add_toleration(task, each.key, each.operator, each.value, each.effect)


def _set_metadata(task: dsl.PipelineTask, stage: str, pod: PodConfig, cluster: ClusterConfig) -> None:
    no_sidecar = sidecar_metadata(cluster.istio_sidecar)
    labels = {**no_sidecar, **pod.labels, **own_labels("step"), "app.kubernetes.io/component": stage}
    for key, value in sorted(labels.items()):
        kubernetes.add_pod_label(task, key, value)
    for key, value in sorted({**no_sidecar, **pod.annotations}.items()):
        kubernetes.add_pod_annotation(task, key, value)


def _set_environment(task: dsl.PipelineTask, cluster: ClusterConfig) -> None:
    task.set_env_variable(IN_PIPELINE, "1")
    user = cluster.run_as_user
    kubernetes.set_security_context(task, run_as_user=user, run_as_group=user, run_as_non_root=user != 0)
    kubernetes.set_image_pull_policy(task, cluster.image_pull_policy)
    if cluster.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, cluster.image_pull_secrets)
    for settings in cluster.config_maps:
        kubernetes.use_config_map_as_env(task, settings.name, settings.keys)
    for secret in cluster.secrets:
        kubernetes.use_secret_as_env(task, secret.name, secret.keys)
    cache = cluster.cache
    if cache.kind == "pvc":
        kubernetes.mount_pvc(task, pvc_name=str(cache.claim), mount_path=cache.path)
    elif cache.kind == "empty_dir":
        kubernetes.empty_dir_mount(task, volume_name="cache", mount_path=cache.path, size_limit=cache.size_limit)
