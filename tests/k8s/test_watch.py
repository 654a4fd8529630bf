"""The job that tells of a night that never was."""

from __future__ import annotations

from typing import Any

import pytest
from step_settings import fits_restricted_namespace, has_settings_of_steps
from test_kustomize import VERSION, of_kind, rendered, secret_templates

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
