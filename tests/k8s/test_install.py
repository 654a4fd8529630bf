"""docs/install.md, walked: after its commands, all that steps and workers name is where they run, and fits."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler
from kubernetes.utils import parse_quantity
from test_kustomize import rendered

from components.cluster import ClusterConfig, load_cluster
from components.train.backends import BACKENDS
from components.train.run import training_run
from oaml_core.config import Config, TrainConfig
from pipelines.oaml_pipeline import oaml_pipeline
from pipelines.restoration_pipeline import restoration_pipeline

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs" / "install.md").read_text()
FILES = {"with profiles": "default.yaml", "without": "local.yaml"}
NODE = {"cpu": "4", "memory": "16Gi"}
"""Of a small cluster: what docs/install.md says that local.yaml is for."""
Objects = dict[tuple[str, str, str], dict[str, Any]]


def commands() -> Iterator[list[str]]:
    for block in re.findall(r"^```\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        yield from (shlex.split(line) for line in block.splitlines() if line.startswith("kubectl"))


def key(manifest: dict[str, Any]) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]


@pytest.fixture(scope="module")
def objects() -> Objects:
    """What is on a fresh cluster with Kubeflow after the page's commands, in their order."""
    there: Objects = {("Namespace", "", "kubeflow"): {}, ("Namespace", "", "kube-system"): {}}
    for words in commands():
        if "apply" in words:
            _apply(words, there)
        elif words[1:5] == ["-n", words[2], "create", "secret"]:
            assert ("Namespace", "", words[2]) in there, words
            keys = [word.split("=")[1] for word in words if word.startswith("--from-file=")]
            there["Secret", words[2], words[6]] = {"data": dict.fromkeys(keys)}
    return there


def _apply(words: list[str], there: Objects) -> None:
    dry_run = "--dry-run=server" in words
    if "-f" in words:
        found = list(yaml.safe_load_all((REPO / words[words.index("-f") + 1]).read_text()))
    else:
        found = rendered(words[words.index("-k") + 1].removeprefix("k8s/"))
    for manifest in sorted(found, key=lambda each: each["kind"] != "Namespace"):
        kind, namespace, name = key(manifest)
        assert not namespace or ("Namespace", "", namespace) in there, f"{words}: {kind} {name} before its namespace"
        if not dry_run:
            there[kind, namespace, name] = manifest


@pytest.fixture(params=FILES)
def cluster(request: pytest.FixtureRequest) -> ClusterConfig:
    return load_cluster(REPO / "configs" / "cluster" / FILES[request.param])


def steps(cluster: ClusterConfig, folder: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, resources, and what belongs to Kubernetes, of every step of both pipelines."""
    for number, pipeline in enumerate((oaml_pipeline, restoration_pipeline)):
        path = folder / f"{number}.yaml"
        compiler.Compiler().compile(pipeline(cluster), str(path))
        spec, platform = yaml.safe_load_all(path.read_text())
        for name, executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].items():
            yield name, spec["deploymentSpec"]["executors"][name]["container"]["resources"], executor


def test_all_that_steps_name_is_in_the_namespace_that_they_run_in(
    cluster: ClusterConfig, objects: Objects, tmp_path: Path
) -> None:
    for name, _, executor in steps(cluster, tmp_path):
        for kind, part, field, keys in (
            ("ConfigMap", "configMapAsEnv", "configMapName", "configMapKey"),
            ("Secret", "secretAsEnv", "secretName", "secretKey"),
        ):
            for each in executor.get(part, []):
                found = objects.get((kind, cluster.namespace, each[field]))
                assert found is not None, f"{name}: {kind} {each[field]} is not in {cluster.namespace}"
                assert {one[keys] for one in each["keyToEnv"]} <= set(found["data"])
        for each in executor.get("pvcMount", []):
            assert ("PersistentVolumeClaim", cluster.namespace, each["constant"]) in objects


def test_all_that_workers_name_is_in_their_namespace(objects: Objects) -> None:
    cluster = load_cluster(REPO / "configs" / "cluster" / "default.yaml")
    config = Config(name="night", store="s3://oaml", train=TrainConfig(max_nodes=2))
    run = training_run(config, "s3://oaml/datasets/f1", "runs/night-0123456789abcdef", cluster)
    pod = BACKENDS["pytorchjob"].manifest(run, cluster)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    for each in pod["containers"][0]["env"]:
        for part, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if reference := each.get("valueFrom", {}).get(part):
                assert reference["key"] in objects[kind, cluster.namespace, reference["name"]]["data"]
    runtime = BACKENDS["trainjob"].manifest(run, cluster)["spec"]["runtimeRef"]
    assert (runtime["kind"], "", runtime["name"]) in objects


@pytest.mark.parametrize("role", ["oaml-train", "oaml-night"])
def test_the_account_that_runs_steps_may_train_and_tell(role: str, cluster: ClusterConfig, objects: Objects) -> None:
    binding = objects["RoleBinding", cluster.namespace, role]
    account = "pipeline-runner" if cluster.namespace == "kubeflow" else "default-editor"
    assert [(each["name"], each.get("namespace", cluster.namespace)) for each in binding["subjects"]] == [
        (account, cluster.namespace)
    ]
    assert binding["roleRef"]["name"] == role
    assert ("Role", cluster.namespace, role) in objects


def test_steps_of_the_small_cluster_fit_on_its_node(objects: Objects, tmp_path: Path) -> None:
    local = load_cluster(REPO / "configs" / "cluster" / "local.yaml")
    assert local.training_backend == "local"  # there is no operator
    (store,) = (each for (kind, *_), each in objects.items() if kind == "StatefulSet")
    taken = store["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]
    for name, resources, _ in steps(local, tmp_path):
        assert "accelerator" not in resources, name
        for kind, field in (("cpu", "resourceCpuRequest"), ("memory", "resourceMemoryRequest")):
            asked = parse_quantity(resources[field]) + parse_quantity(taken[kind])
            assert asked <= parse_quantity(NODE[kind]) * 3 / 4, f"{name} leaves Kubeflow no {kind}"


def test_one_run_fits_into_the_quota_of_a_profile(objects: Objects, tmp_path: Path) -> None:
    default = load_cluster(REPO / "configs" / "cluster" / "default.yaml")
    hard = objects["ResourceQuota", default.namespace, "oaml"]["spec"]["hard"]
    for name, resources, _ in steps(default, tmp_path):
        for kind, field in (("requests.cpu", "resourceCpuRequest"), ("requests.memory", "resourceMemoryRequest")):
            both = parse_quantity(resources[field]) + parse_quantity(getattr(default.training, kind.partition(".")[2]))
            assert both <= parse_quantity(hard[kind]), f"{name} does not fit beside a worker"
