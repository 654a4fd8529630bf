"""What the jobs say: valid for their operators, unknown fields refused, all that the cluster file asks for."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kubernetes import config as kube_config
from kubernetes_server.kube_schema import schema_errors
from real_cluster import install
from training_place import CLUSTER, CONFIG, DATASET, PREFIX, Place

from components.cluster import CacheConfig, ClusterConfig, GangConfig, Toleration
from components.train.backends import BACKENDS
from components.train.client import ClusterClient
from components.train.pod import SHUTDOWN_VARIABLE
from components.train.run import job_name, training_run
from components.train.submit import sealed
from oaml_core.config import Config, TrainConfig
from oaml_core.errors import ClusterError, ConfigError
from oaml_core.settings import load_config

REPO = Path(__file__).parents[3]
FULL = replace(
    CLUSTER,
    image_pull_secrets=["registry"],
    cache=CacheConfig(kind="pvc", claim="faces"),
    training=replace(
        CLUSTER.training,
        cpu="7500m",
        cpu_limit="8",
        memory_limit="20Gi",
        node_selector={"gpu": "h100"},
        tolerations=[Toleration("nvidia.com/gpu"), Toleration("team", "Equal", "faces", "NoExecute")],
        affinity={"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        env={"NCCL_SOCKET_IFNAME": "eth0"},
        deadline_seconds=86400,
        suspend=True,
    ),
)
FIXED = replace(CONFIG, train=TrainConfig(min_nodes=2, max_nodes=2))


def rendered(backend: str, config: Config = CONFIG, cluster: ClusterConfig = FULL) -> dict[str, Any]:
    return BACKENDS[backend].manifest(training_run(config, DATASET, PREFIX, cluster), cluster)


@pytest.mark.parametrize(("backend", "config"), [("pytorchjob", CONFIG), ("pytorchjob", FIXED), ("trainjob", FIXED)])
@pytest.mark.parametrize("cluster", [CLUSTER, FULL, replace(FULL, cache=CacheConfig("none"))])
def test_manifests_are_valid(backend: str, config: Config, cluster: ClusterConfig) -> None:
    manifest = rendered(backend, config, cluster)
    BACKENDS[backend].check(manifest)
    assert schema_errors(BACKENDS[backend].plural, manifest) == []


@pytest.mark.parametrize("backend", ["pytorchjob", "trainjob"])
def test_the_schema_finds_a_misspelt_field(backend: str) -> None:
    manifest = rendered(backend, FIXED)
    manifest["spec"]["suspended"] = True
    assert any("suspended" in error for error in schema_errors(BACKENDS[backend].plural, manifest))


@pytest.mark.parametrize("backend", ["pytorchjob", "trainjob"])
@pytest.mark.parametrize(("grace", "workers"), [(300, "290"), (5, "1")])
def test_workers_have_the_time_of_their_pod_to_write_a_checkpoint(backend: str, grace: int, workers: str) -> None:
    """torchrun would kill them after 30 seconds of its own."""
    cluster = replace(FULL, training=replace(FULL.training, termination_grace_seconds=grace))
    spec = rendered(backend, FIXED, cluster)["spec"]
    if backend == "trainjob":
        container = spec["trainer"]
    else:
        (container,) = spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"]
    assert {"name": SHUTDOWN_VARIABLE, "value": workers} in container["env"]


def test_torchrun_reads_the_time_that_workers_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed.launcher.api import LaunchConfig

    monkeypatch.setenv(SHUTDOWN_VARIABLE, "290")
    assert LaunchConfig(1, 1, 1).shutdown_timeout == 290


def test_an_elastic_run_is_an_elastic_worker_only_job() -> None:
    spec = rendered("pytorchjob")["spec"]
    assert spec["nprocPerNode"] == "1"
    assert list(spec["pytorchReplicaSpecs"]) == ["Worker"]
    assert spec["pytorchReplicaSpecs"]["Worker"]["replicas"] == 2
    assert spec["pytorchReplicaSpecs"]["Worker"]["restartPolicy"] == "ExitCode"
    elastic = spec["elasticPolicy"]
    assert (elastic["minReplicas"], elastic["maxReplicas"]) == (1, 2)
    assert (elastic["rdzvBackend"], elastic["rdzvId"]) == ("c10d", "night-0123456789abcdef")
    assert {each["key"]: each["value"] for each in elastic["rdzvConf"]} == {
        "join_timeout": "1800",
        "last_call_timeout": "30",
    }
    assert elastic["maxRestarts"] == CONFIG.train.max_restarts


def test_the_run_policy_is_the_cluster_files() -> None:
    gang = GangConfig(enabled=True, queue="faces", schedule_timeout_seconds=600)
    training = replace(FULL.training, gang=gang, priority_class="nightly")
    spec = rendered("pytorchjob", cluster=replace(FULL, training=training))["spec"]
    assert spec["runPolicy"] == {
        "cleanPodPolicy": "Running",
        "ttlSecondsAfterFinished": 86400,
        "backoffLimit": 20,
        "activeDeadlineSeconds": 86400,
        "suspend": True,
        "schedulingPolicy": {
            "minAvailable": 1,
            "queue": "faces",
            "priorityClass": "nightly",
            "scheduleTimeoutSeconds": 600,
        },
    }
    assert spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["priorityClassName"] == "nightly"


def test_the_pod_has_what_the_cluster_file_asks_for_and_no_more_rights_than_it_needs() -> None:
    pod = rendered("pytorchjob")["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["name"] == "pytorch"
    assert container["image"] == "registry.example.com/oaml/train:1"
    assert container["resources"] == {
        "requests": {"cpu": "7500m", "memory": "16Gi", "nvidia.com/gpu": "1"},
        "limits": {"cpu": "8", "memory": "20Gi", "nvidia.com/gpu": "1"},
    }
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["NCCL_SOCKET_IFNAME"] == "eth0"
    assert environment["OMP_NUM_THREADS"] == "7"
    referred = {each["name"]: each["valueFrom"] for each in container["env"] if "valueFrom" in each}
    assert referred["AWS_SECRET_ACCESS_KEY"] == {"secretKeyRef": {"name": "oaml-store", "key": "secret-key"}}
    assert referred["OAML_S3_ENDPOINT"] == {"configMapKeyRef": {"name": "oaml", "key": "endpoint"}}
    mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    volumes = {each["name"]: each for each in pod["volumes"]}
    assert volumes[mounts["/dev/shm"]]["emptyDir"] == {"medium": "Memory", "sizeLimit": "2Gi"}
    assert volumes[mounts["/oaml/.oaml"]]["persistentVolumeClaim"] == {"claimName": "faces"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "team", "operator": "Equal", "value": "faces", "effect": "NoExecute"},
    ]
    assert pod["nodeSelector"] == {"gpu": "h100"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["terminationGracePeriodSeconds"] == 120
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_each_node_runs_the_command_that_a_person_would() -> None:
    container = rendered("pytorchjob")["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    (program,), (stage, *options) = container["command"], container["args"]
    assert (program, stage) == ("oaml", "train")
    dataset, work_dir = options.pop(1), options.pop(1)
    assert dataset == f"--dataset={DATASET}"
    assert load_config(None, [*options, work_dir]) == replace(CONFIG, work_dir="/oaml/.oaml")


def test_times_that_do_not_go_together_are_refused() -> None:
    hasty = replace(FULL, training=replace(FULL.training, join_timeout_seconds=300))
    with pytest.raises(ConfigError, match="join_timeout_seconds 300 does not exceed"):
        rendered("pytorchjob", CONFIG, hasty)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        ("runs/night-0123456789abcdef", "night-0123456789abcdef"),
        ("runs/IR_101 on MS1M-0123456789abcdef", "ir-101-on-ms1m-0123456789abcdef"),
        ("runs/2026-0123456789abcdef", "run-2026-0123456789abcdef"),
        (f"runs/{'x' * 80}-0123456789abcdef", f"{'x' * 35}-0123456789abcdef"),
        ("runs/--0123456789abcdef", "run-0123456789abcdef"),
    ],
)
def test_a_jobs_name_is_a_label_whose_pods_have_valid_names(prefix: str, name: str) -> None:
    assert job_name(prefix) == name
    assert len(f"{name}-worker-999") <= 63


OPEN = replace(
    FULL.training,
    labels={"example.com/team": "faces"},
    annotations={"k8s.v1.cni.cncf.io/networks": "rdma"},
    job_labels={"example.com/cost": "nightly"},
    job_annotations={"example.com/owner": "faces@example.com"},
    queue="faces",
    suspend=False,
    service_account="trainer",
    fs_group=2000,
)


@pytest.mark.parametrize("backend", ["pytorchjob", "trainjob"])
@pytest.mark.parametrize("sidecar", [False, True])
def test_metadata_of_jobs_and_workers_is_open(backend: str, sidecar: bool) -> None:
    manifest = rendered(backend, cluster=replace(FULL, training=OPEN, istio_sidecar=sidecar))
    assert schema_errors(BACKENDS[backend].plural, manifest) == []
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "faces"
    assert manifest["metadata"]["labels"]["example.com/cost"] == "nightly"
    assert manifest["metadata"]["annotations"]["example.com/owner"] == "faces@example.com"
    assert sealed(manifest)["metadata"]["annotations"].items() > manifest["metadata"]["annotations"].items()
    pods = _pods(manifest)
    assert manifest["spec"].get("suspend", manifest["spec"].get("runPolicy", {}).get("suspend")) is True
    assert pods["metadata"]["labels"]["example.com/team"] == "faces"
    assert pods["metadata"]["labels"]["oaml.io/role"] == "worker"
    assert pods["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"] == "rdma"
    for place in ("labels", "annotations"):
        assert pods["metadata"][place].get("sidecar.istio.io/inject") == (None if sidecar else "false")
    assert pods["spec"]["serviceAccountName"] == "trainer"
    assert pods["spec"]["securityContext"]["fsGroup"] == 2000


def _pods(manifest: dict[str, Any]) -> dict[str, Any]:
    """The template of the workers' pods."""
    if manifest["kind"] == "PyTorchJob":
        return manifest["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    (patch,) = manifest["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    return job["template"]["spec"]["template"]


def test_schedulers_runtime_classes_and_priorities_are_the_pods() -> None:
    training = replace(FULL.training, scheduler="volcano", runtime_class="nvidia", priority_class="nightly")
    spec = _pods(rendered("pytorchjob", cluster=replace(FULL, training=training)))["spec"]
    assert (spec["schedulerName"], spec["runtimeClassName"], spec["priorityClassName"]) == (
        "volcano",
        "nvidia",
        "nightly",
    )


def _broken(path: str, value: object) -> dict[str, Any]:
    manifest = copy.deepcopy(rendered("pytorchjob"))
    node = manifest
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[int(key)]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return manifest


WORKER = "spec.pytorchReplicaSpecs.Worker"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("metadata.name", "1-night", "metadata.name '1-night' must begin with a letter"),
        ("metadata.name", "x" * 64, "must begin with a letter"),
        (f"{WORKER}.template.spec.containers.0.name", "main", "must be named 'pytorch'"),
        (f"{WORKER}.template.spec.containers.0.image", None, "has no image"),
        (f"{WORKER}.replicas", 0, "at least one"),
        ("spec.pytorchReplicaSpecs.Master", {"replicas": 2}, "exactly one Master"),
        ("spec.pytorchReplicaSpecs.Chief", {"replicas": 1}, "Master or Worker"),
        (WORKER, None, "needs Workers"),
        ("spec.elasticPolicy.nProcPerNode", 2, "are the same"),
        ("spec.elasticPolicy.minReplicas", 3, "minReplicas 3 exceeds maxReplicas 2"),
    ],
)
def test_rules_that_only_the_operators_webhook_knows_are_checked(path: str, value: object, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        BACKENDS["pytorchjob"].check(_broken(path, value))


@pytest.mark.parametrize("backend", ["pytorchjob", "trainjob"])
def test_the_api_server_takes_the_manifests_and_refuses_wrong_ones(place: Place, backend: str) -> None:
    if place.operator.node is not None:
        install(place.operator.api, BACKENDS[backend].plural)
    api = kube_config.new_client_from_config(str(place.kubeconfig))
    client = ClusterClient(BACKENDS[backend], place.namespace, api)
    manifest = sealed(rendered(backend, FIXED, replace(FULL, namespace=place.namespace)))
    answered = client.create(manifest, dry_run=True)
    assert answered is not None
    assert answered["metadata"]["uid"]
    assert client.get(manifest["metadata"]["name"]) is None
    manifest["spec"]["suspend"] = "perhaps"
    manifest["spec"]["runPolicy"] = "none"
    with pytest.raises(ClusterError, match="spec"):
        client.create(manifest, dry_run=True)
