"""The job that tells of a night that never was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from step_settings import fits_restricted_namespace, has_settings_of_steps
from test_kustomize import K8S, VERSION, of_kind, rendered, secret_templates

from components.images import image
from oaml_core.cli.program import COMMANDS
from oaml_core.settings import config_parser, load_config, parse_config


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    (job,) = of_kind(rendered("watch"), "CronJob")
    return job["spec"]["jobTemplate"]["spec"]["template"]


def test_every_field_is_known_to_kubernetes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in rendered("watch"):
        kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_it_runs_a_command_that_there_is_for_the_nights_of_the_recipe(pod: dict[str, Any]) -> None:
    name, *words = pod["spec"]["containers"][0]["args"]
    parser = config_parser("oaml", "watch")
    COMMANDS[name].options(parser)  # type: ignore[misc]
    config, options = parse_config(parser, words)
    assert (options.action, options.tell) == ("status", True)
    assert config.name == load_config("nightly").name
    assert pod["spec"]["containers"][0]["image"] == image("promote")


def test_it_looks_at_a_time_of_its_own_whatever_clock_the_control_plane_has() -> None:
    (job,) = of_kind(rendered("watch"), "CronJob")
    assert job["spec"]["timeZone"] == "Etc/UTC", "schedules of pipelines are in UTC"


def test_a_cluster_without_a_webhook_is_watched_too(pod: dict[str, Any]) -> None:
    (told,) = (each for each in pod["spec"]["containers"][0]["env"] if each["name"] == "OAML_WEBHOOK_URL")
    assert told["valueFrom"]["secretKeyRef"]["optional"] is True


def test_its_settings_are_those_of_the_steps(pod: dict[str, Any]) -> None:
    templates = {each["metadata"]["name"]: each for each in secret_templates()}
    given = has_settings_of_steps(pod["spec"]["containers"][0])
    assert given["OAML_WEBHOOK_URL"]["secretKeyRef"]["key"] in templates["oaml-webhook"]["stringData"]


def test_a_restricted_namespace_lets_it_in(pod: dict[str, Any]) -> None:
    fits_restricted_namespace(pod)
    assert pod["metadata"]["labels"]["oaml.io/role"] == "step"


def containers(node: Any, volumes: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    """Every container below a node of a manifest, and the volumes of its pod that can be written."""
    if isinstance(node, list):
        for each in node:
            yield from containers(each, volumes)
    elif isinstance(node, dict):
        found = node.get("volumes")
        if isinstance(found, list):
            volumes = tuple(each["name"] for each in found if "emptyDir" in each)
        if "image" in node and "name" in node and "securityContext" in node:
            yield node, volumes
        for each in node.values():
            yield from containers(each, volumes)


@pytest.mark.parametrize("path", sorted(K8S.rglob("*.yaml")), ids=lambda path: str(path.relative_to(K8S)))
def test_a_container_that_may_not_write_has_a_folder_for_temporary_files(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        for container, volumes in containers(manifest):
            if not container["image"].startswith("oaml/"):
                continue
            mounts = {each["mountPath"]: each["name"] for each in container.get("volumeMounts", [])}
            if container["securityContext"].get("readOnlyRootFilesystem"):
                assert mounts.get("/tmp") in volumes, "every object of the store passes through a temporary file"


@pytest.mark.parametrize("folder", ["watch", "katib", "serving/deployment", "serving/kserve"])
def test_such_containers_are_found(folder: str) -> None:
    manifests = [each for path in (K8S / folder).glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]
    assert any(
        container["securityContext"].get("readOnlyRootFilesystem")
        for manifest in manifests
        for container, _ in containers(manifest)
        if container["image"].startswith("oaml/")
    )
