"""What the cluster file does to the compiled pipeline, and that it does nothing to the graph."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components.cluster import (
    CacheConfig,
    ClusterConfig,
    EnvironmentConfig,
    PodConfig,
    RetryConfig,
    Toleration,
    TrainingConfig,
)
from oaml_core.settings import dataclass_from_yaml
from pipelines.oaml_pipeline import oaml_pipeline

CLUSTER = ClusterConfig(
    namespace="faces",
    registry="registry.example.com/team",
    image_pull_secrets=["registry"],
    config_maps=[EnvironmentConfig("oaml", {"endpoint": "OAML_S3_ENDPOINT"})],
    secrets=[
        EnvironmentConfig("oaml-store", {"access-key": "AWS_ACCESS_KEY_ID", "secret-key": "AWS_SECRET_ACCESS_KEY"})
    ],
    cache=CacheConfig("pvc", claim="faces"),
    retries=RetryConfig(count=3, backoff_seconds=30),
    stages={
        "evaluate": PodConfig(
            cpu="4",
            cpu_limit="6",
            memory="8Gi",
            memory_limit="12Gi",
            gpus=1,
            node_selector={"gpu": "h100"},
            tolerations=[Toleration("nvidia.com/gpu", effect="NoSchedule")],
        )
    },
    training=TrainingConfig(gpus=8),
)
STAGES = ("preprocess", "train", "evaluate", "gate", "export", "promote", "night")


def compiled(folder: Path, cluster: ClusterConfig | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The graph, and what belongs to Kubernetes."""
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(oaml_pipeline(cluster), str(path))
    documents = [*yaml.safe_load_all(path.read_text()), {}]
    return documents[0], documents[1]


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    return compiled(tmp_path_factory.mktemp("placed"), CLUSTER)


def all_tasks(spec: dict[str, Any]) -> dict[str, Any]:
    """The steps, and the last one, which looks at how they ended."""
    top = spec["root"]["dag"]["tasks"]
    (group,) = set(top) - {"night"}
    return spec["components"][f"comp-{group}"]["dag"]["tasks"] | {"night": top["night"]}


def graph(spec: dict[str, Any]) -> dict[str, Any]:
    """Tasks, what each takes from which, components' inputs and outputs, and code: all but placement."""
    tasks = all_tasks(spec)
    for task in tasks.values():
        task.pop("retryPolicy", None)
    tasks["train"]["inputs"]["parameters"].pop("cluster")
    code = {name: each["container"]["command"] for name, each in spec["deploymentSpec"]["executors"].items()}
    return {"root": spec["root"], "components": spec["components"], "code": code}


def test_the_graph_of_a_local_run_is_that_of_the_cluster(tmp_path: Path) -> None:
    local, _ = compiled(tmp_path, None)
    cluster, _ = compiled(tmp_path, CLUSTER)
    assert graph(local) == graph(cluster)


def test_a_local_run_says_nothing_of_kubernetes(tmp_path: Path) -> None:
    spec, platform = compiled(tmp_path, None)
    assert platform == {}
    assert all_tasks(spec)["train"]["inputs"]["parameters"]["cluster"]["runtimeValue"]["constant"] == ""


def test_resources_and_images(placed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    executors = placed[0]["deploymentSpec"]["executors"]
    others = {
        "gate": "promote",
        "night": "promote",
        "evaluate": "train",
    }  # the GPU that `evaluate` gets is of use in that image alone
    for stage in STAGES:
        runs_in = others.get(stage, stage)
        assert executors[f"exec-{stage}"]["container"]["image"].startswith(f"registry.example.com/team/{runs_in}:")
    resources = executors["exec-evaluate"]["container"]["resources"]
    assert resources["resourceCpuRequest"] == "4"
    assert resources["resourceCpuLimit"] == "6"
    assert resources["resourceMemoryRequest"] == "8Gi"
    assert resources["resourceMemoryLimit"] == "12Gi"
    assert resources["accelerator"] == {
        "count": "1",
        "resourceCount": "1",
        "resourceType": "nvidia.com/gpu",
        "type": "nvidia.com/gpu",
    }
    assert "accelerator" not in executors["exec-train"]["container"]["resources"]


def test_a_step_without_a_gpu_runs_in_its_own_image(tmp_path: Path) -> None:
    spec, _ = compiled(tmp_path, replace(CLUSTER, stages={}))
    image = spec["deploymentSpec"]["executors"]["exec-evaluate"]["container"]["image"]
    assert image.startswith("registry.example.com/team/evaluate:")


def test_nodes_settings_secrets_and_cache(placed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    executors = placed[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    evaluate = executors["exec-evaluate"]
    assert evaluate["nodeSelector"] == {"labels": {"gpu": "h100"}}
    assert evaluate["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    for stage in STAGES:
        settings = executors[f"exec-{stage}"]
        (mapped,) = settings["configMapAsEnv"]
        assert mapped["configMapName"] == "oaml"
        assert mapped["keyToEnv"] == [{"configMapKey": "endpoint", "envVar": "OAML_S3_ENDPOINT"}]
        assert [each["envVar"] for each in settings["secretAsEnv"][0]["keyToEnv"]] == [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ]
        assert settings["pvcMount"][0]["constant"] == "faces"
        assert settings["imagePullSecret"][0]["secretName"] == "registry"
        assert settings["securityContext"]["runAsNonRoot"] is True


def test_steps_carry_labels_and_shared_memory_and_no_sidecar(
    placed: tuple[dict[str, Any], dict[str, Any]], tmp_path: Path
) -> None:
    executors = placed[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for stage in STAGES:
        metadata, shared = (
            executors[f"exec-{stage}"]["podMetadata"],
            executors[f"exec-{stage}"].get("emptyDirMounts", []),
        )
        assert metadata["labels"]["oaml.io/role"] == "step"
        assert metadata["labels"]["app.kubernetes.io/component"] == stage
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
        assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
        memory = {each["mountPath"]: (each["medium"], each["sizeLimit"]) for each in shared}
        loads = stage in ("preprocess", "train", "evaluate", "export")
        assert memory == ({"/dev/shm": ("Memory", "2Gi")} if loads else {})
    mine = PodConfig(labels={"team": "faces"}, annotations={"note": "mine"}, shared_memory="6Gi")
    _, platform = compiled(tmp_path, replace(CLUSTER, stages={"gate": mine}, istio_sidecar=True))
    gate = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-gate"]
    assert gate["podMetadata"]["labels"]["team"] == "faces"
    assert gate["podMetadata"]["annotations"] == {"note": "mine"}
    assert "sidecar.istio.io/inject" not in gate["podMetadata"]["labels"]
    assert gate["emptyDirMounts"][0]["sizeLimit"] == "6Gi"


def test_retries_back_off(placed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for task in all_tasks(placed[0]).values():
        assert task["retryPolicy"] == {
            "maxRetryCount": 3,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "600s",
        }


def test_steps_are_cached_by_fingerprint_and_configuration(placed: tuple[dict[str, Any], dict[str, Any]]) -> None:
    tasks = all_tasks(placed[0])
    for stage in ("train", "evaluate", "export"):
        assert tasks[stage]["cachingOptions"] == {"enableCache": True}
        parameters = tasks[stage]["inputs"]["parameters"]
        assert parameters["config"] == {"componentInputParameter": "pipelinechannel--config"}
        assert parameters["fingerprint"]["taskOutputParameter"]["producerTask"] == "preprocess"
    for stage in ("preprocess", "gate", "promote", "night"):
        assert not tasks[stage]["cachingOptions"].get("enableCache")


def test_the_train_step_gets_the_cluster_file_with_the_workers_image(
    placed: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    parameters = all_tasks(placed[0])["train"]["inputs"]["parameters"]
    cluster = dataclass_from_yaml(ClusterConfig, parameters["cluster"]["runtimeValue"]["constant"], "It")
    assert cluster.namespace == "faces"
    assert cluster.training.gpus == 8
    assert cluster.training.image == placed[0]["deploymentSpec"]["executors"]["exec-train"]["container"]["image"]


def test_a_cluster_file_of_ones_own_is_compiled_on_the_command_line(tmp_path: Path) -> None:
    mine, out = tmp_path / "mine.yaml", tmp_path / "out.yaml"
    mine.write_text("namespace: faces\ntraining_backend: trainjob\n")
    command = [sys.executable, "-m", "pipelines.compile", str(out), "--cluster", str(mine)]
    subprocess.run(command, check=True, capture_output=True)
    told = all_tasks(next(yaml.safe_load_all(out.read_text())))["train"]["inputs"]["parameters"]["cluster"]
    assert "training_backend: trainjob" in told["runtimeValue"]["constant"]
    mine.write_text("namespac: faces\n")
    refused = subprocess.run(command, capture_output=True, text=True)
    assert (refused.returncode, "Did you mean 'namespace'" in refused.stderr) == (2, True)


def test_credentials_in_the_environment_do_not_get_into_the_compiled_file(tmp_path: Path) -> None:
    values = {name: secrets.token_hex(12) for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY")}
    out = tmp_path / "out.yaml"
    said = subprocess.run(
        [sys.executable, "-m", "pipelines.compile", str(out)],
        env=os.environ | values,
        check=True,
        capture_output=True,
        text=True,
    )
    text = out.read_text() + said.stdout + said.stderr
    assert [name for name, value in values.items() if value in text] == []
