"""What a real API server says of the manifests: server-side dry run of all, and of the Role that it is enforced."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes_server.real_server import real_namespace

pytestmark = pytest.mark.cluster
K8S = Path(__file__).parents[2] / "k8s"
NAMESPACES = {"oaml", "kubeflow"}
"""Of the manifests: with profiles and without."""
SECONDS = 20.0
"""Within which the server's authoriser has heard of a new Role."""
Json = dict[str, Any]
Server = tuple[client.ApiClient, str]
DENIED = [
    *(("kubeflow.org", "pytorchjobs", verb) for verb in ("update", "patch", "deletecollection")),
    *(("", "pods", verb) for verb in ("create", "delete", "update")),
    *(("", resource, "get") for resource in ("secrets", "configmaps", "persistentvolumeclaims")),
    *(("", resource, "create") for resource in ("pods/exec", "secrets", "serviceaccounts/token")),
    ("rbac.authorization.k8s.io", "roles", "create"),
    ("batch", "jobs", "create"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with real_namespace() as found:
        yield found


def manifests(folder: str, namespace: str) -> list[Json]:
    """What kubectl renders, moved to the test's namespace, and the Secrets' templates."""
    done = subprocess.run(["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, check=True)
    found = [
        *yaml.safe_load_all(done.stdout),
        *(yaml.safe_load(path.read_text()) for path in sorted((K8S / "secrets").glob("*.yaml"))),
    ]
    for each in found:
        metadata = each["metadata"]
        if each["kind"] == "Namespace":
            metadata["name"] = namespace
        elif "namespace" in metadata:
            assert metadata["namespace"] in NAMESPACES
            metadata["namespace"] = namespace
    return found


def apply(found: list[Json], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["kubectl", "apply", "--server-side", *options, "-f", "-"],
        input=yaml.safe_dump_all(found),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "folder", ["base", "overlays/local", "overlays/cluster", "serving/deployment", "serving/gallery"]
)
def test_the_server_would_take_every_manifest(server: Server, folder: str) -> None:
    found = manifests(folder, server[1])
    done = apply(found, "--dry-run=server")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("serverside-applied (server dry run)") == len(found)


def test_a_manifest_that_cannot_be_is_refused(server: Server) -> None:
    found = manifests("overlays/cluster", server[1])
    (quota,) = (each for each in found if each["kind"] == "ResourceQuota")
    quota["spec"]["hard"]["pods"] = "many"
    done = apply([quota], "--dry-run=server")
    assert done.returncode == 1
    assert "quantities must match" in done.stderr


def test_the_role_gives_the_account_of_pipelines_what_it_says_and_nothing_beyond(server: Server) -> None:
    api, namespace = server
    found = [each for each in manifests("overlays/cluster", namespace) if each["kind"] in ("Role", "RoleBinding")]
    done = apply(found)
    assert done.returncode == 0, done.stderr
    given = rights(next(each for each in found if each["kind"] == "Role"))
    deadline = time.monotonic() + SECONDS
    while not may(api, namespace, given[-1]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert [right for right in given if not may(api, namespace, right)] == []
    assert [right for right in DENIED if may(api, namespace, right)] == []
    assert [right for right in given if may(api, "default", right, account_of=namespace)] == []


def rights(role: Json) -> list[tuple[str, str, str]]:
    """API group, resource and verb of all that the Role allows."""
    return [each for rule in role["rules"] for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])]


def may(api: client.ApiClient, namespace: str, right: tuple[str, str, str], account_of: str | None = None) -> bool:
    """What the server would answer to `default-editor`, whom Kubeflow runs a profile's pipelines as."""
    group, resource, verb = right
    name, _, part = resource.partition("/")
    asked = {"namespace": namespace, "group": group, "resource": name, "subresource": part, "verb": verb}
    user = f"system:serviceaccount:{account_of or namespace}:default-editor"
    review = {"spec": {"user": user, "resourceAttributes": asked}}
    return client.AuthorizationV1Api(api).create_subject_access_review(review).status.allowed
