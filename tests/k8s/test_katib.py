"""The experiment that tries weights: its trials are trainings that there are, and their accuracy is found."""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest
from step_settings import fits_restricted_namespace, has_settings_of_steps
from test_kustomize import VERSION, of_kind, rendered

from components.images import image
from oaml_core.cli.program import COMMANDS
from oaml_core.settings import config_parser, parse_config
from oaml_core.training import loop

Json = dict[str, Any]


@pytest.fixture(scope="module")
def experiment() -> Json:
    (found,) = of_kind(rendered("katib"), "Experiment")
    spec: Json = found["spec"]
    return spec


@pytest.fixture
def container(experiment: Json) -> Json:
    pod = experiment["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    assert found["name"] == experiment["trialTemplate"]["primaryContainerName"]
    return dict(found)


def with_values(command: list[str], values: dict[str, str]) -> list[str]:
    """Fill in `${trialParameters.NAME}` as Katib does; whatever is not filled in stays."""
    for name, value in values.items():
        command = [word.replace(f"${{trialParameters.{name}}}", value) for word in command]
    return command


def test_each_trial_is_a_job_that_kubernetes_knows(experiment: Json) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    job = experiment["trialTemplate"]["trialSpec"]
    kubernetes_validate.validate({**job, "metadata": {"name": "trial"}}, VERSION, strict=True)


@pytest.mark.parametrize("end", ["min", "max"])
def test_every_parameter_reaches_a_key_within_its_range(experiment: Json, container: Json, end: str) -> None:
    space = {each["name"]: each["feasibleSpace"][end] for each in experiment["parameters"]}
    given = {each["name"]: space.pop(each["reference"]) for each in experiment["trialTemplate"]["trialParameters"]}
    assert space == {}

    tool, name, *words = with_values(container["command"], given)
    assert (tool, name) == ("oaml", "train")
    assert not [word for word in words if "${" in word]
    parser = config_parser("oaml", name)
    COMMANDS[name].options(parser)  # type: ignore[misc]
    config, options = parse_config(parser, words)

    assert options.dataset.startswith("s3://oaml/datasets/")
    assert config.loss.distillation_loss_weight == float(given["distillation"])
    assert config.loss.visibility_loss_weight == float(given["visibility"])
    assert config.evaluate.qaconv_weight == float(given["local"])


def test_the_accuracy_is_found_in_what_training_prints(experiment: Json, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info(_line_of_training(), 5, 0.9701, " (kept as the best)")
    (pattern,) = experiment["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"]
    assert re.findall(pattern, caplog.text) == [(experiment["objective"]["objectiveMetricName"], "0.9701")]


def _line_of_training() -> str:
    """Return the format of the line that says what a validation found."""
    (found,) = re.findall(r'log\.info\("(epoch .*val_acc.*)"', inspect.getsource(loop))
    return str(found)


def test_its_settings_and_image_are_those_of_training(container: Json) -> None:
    has_settings_of_steps(container)
    assert container["image"] == image("train")


def test_a_restricted_namespace_lets_it_in(experiment: Json) -> None:
    pod = experiment["trialTemplate"]["trialSpec"]["spec"]["template"]
    fits_restricted_namespace(pod)
    assert pod["metadata"]["labels"]["oaml.io/role"] == "step"
