"""The manifests as they reach a cluster: rendered by kubectl, checked against Kubernetes' own schemas."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from components.cluster import load_cluster
from pipelines.compile import CLUSTER

K8S = Path(__file__).parents[2] / "k8s"
LOCAL = CLUSTER.with_name("local.yaml")
FOLDERS = {"base": CLUSTER, "overlays/local": LOCAL, "overlays/cluster": CLUSTER}
"""Folders of manifests, and the cluster file that goes with each."""
VERSION = "1.33"
Manifest = dict[str, Any]


def rendered(folder: str) -> list[Manifest]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == kind]


def secret_templates() -> list[Manifest]:
    return [each for path in sorted((K8S / "secrets").glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_field_is_known_to_kubernetes(folder: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in [*rendered(folder), *secret_templates()]:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_an_unknown_field_would_be_found() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (quota,) = of_kind(rendered("base"), "ResourceQuota")
    quota["spec"]["hards"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="hards"):
        kubernetes_validate.validate(quota, VERSION, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_everything_is_in_the_namespace_of_the_cluster_file(folder: str) -> None:
    namespace = load_cluster(FOLDERS[folder]).namespace
    for manifest in rendered(folder):
        if manifest["kind"] == "Namespace":
            assert manifest["metadata"]["name"] == namespace
        elif manifest["kind"] != "PriorityClass":
            assert manifest["metadata"]["namespace"] == namespace, manifest["metadata"]["name"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_overlays_bring_no_secret_with_them(folder: str) -> None:
    assert of_kind(rendered(folder), "Secret") == []


def test_secret_templates_have_the_keys_that_steps_read_and_no_values() -> None:
    templates = {each["metadata"]["name"]: each["stringData"] for each in secret_templates()}
    assert all(value == "" for data in templates.values() for value in data.values())
    for secret in load_cluster(CLUSTER).secrets:
        assert set(secret.keys) == set(templates[secret.name])


@pytest.mark.parametrize("folder", FOLDERS)
def test_settings_have_the_keys_that_steps_read(folder: str) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(rendered(folder), "ConfigMap")}
    for wanted in load_cluster(FOLDERS[folder]).config_maps:
        assert set(wanted.keys) == set(maps[wanted.name])


def test_the_store_of_a_small_cluster_is_where_its_settings_say() -> None:
    manifests = rendered("overlays/local")
    settings = next(each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == "oaml")
    address = urlsplit(settings["data"]["endpoint"])
    (service,) = of_kind(manifests, "Service")
    assert address.hostname == f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert address.port == service["spec"]["ports"][0]["port"]


def test_a_pod_without_requests_is_not_refused_by_the_quota() -> None:
    manifests = rendered("base")
    (quota,), (limits,) = of_kind(manifests, "ResourceQuota"), of_kind(manifests, "LimitRange")
    asked = {name.removeprefix("requests.") for name in quota["spec"]["hard"] if name.startswith("requests.")}
    assert asked <= set(limits["spec"]["limits"][0]["defaultRequest"])


def test_pods_of_ours_run_without_privileges() -> None:
    (minio,) = of_kind(rendered("overlays/local"), "StatefulSet")
    spec = minio["spec"]["template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["automountServiceAccountToken"] is False
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_other_pods_of_a_profile_are_let_in_as_before() -> None:
    """Notebooks and what Kubeflow adds have Istio's sidecar, which may need NET_ADMIN."""
    (namespace,) = of_kind(rendered("overlays/cluster"), "Namespace")
    labels = namespace["metadata"]["labels"]
    assert labels.get("pod-security.kubernetes.io/enforce", "privileged") == "privileged"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_the_priority_class_is_the_one_that_a_cluster_file_may_name() -> None:
    (priority,) = of_kind(rendered("overlays/cluster"), "PriorityClass")
    assert priority["metadata"]["name"] == "oaml-training"
    assert priority["value"] < 0
