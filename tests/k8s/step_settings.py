"""Demands on pods beside the steps: settings as `components/cluster.py` names them, and a restricted namespace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from test_kustomize import of_kind

from components.cluster import load_cluster
from pipelines.compile import CLUSTER

Json = dict[str, Any]


def has_settings_of_steps(container: Mapping[str, Any]) -> dict[str, Json]:
    """Assert that a container has the settings and keys of the steps; return where each of its variables is from."""
    cluster = load_cluster(CLUSTER)
    given = {each["name"]: each.get("valueFrom", {}) for each in container["env"]}
    for kind, sources in (("configMapKeyRef", cluster.config_maps), ("secretKeyRef", cluster.secrets)):
        for source in sources:
            for key, variable in source.keys.items():
                assert given[variable][kind] == {"name": source.name, "key": key}
    return given


def store_address(manifests: list[Json]) -> SplitResult:
    """Return the address that the settings give to the store."""
    settings = next(each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == "oaml")
    return urlsplit(settings["data"]["endpoint"])


def fits_restricted_namespace(pod: Mapping[str, Any]) -> None:
    """Assert that a pod template is one that the `restricted` profile of pod security lets in."""
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
