"""`python -m pipelines.submit --config RECIPE`: one run of the pipeline on Kubeflow; what `kfp run create` does."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from components.cluster import load_cluster
from components.images import LOCK
from oaml_core.errors import OamlError
from oaml_core.held_folder import held_folder
from oaml_core.orderly_end import end_in_order
from oaml_core.settings import config_to_yaml, load_config
from pipelines.compile import CLUSTER, compile_pipeline
from pipelines.kubeflow import ENDPOINT, PIPELINE, TOKEN, Kubeflow, connect, dated, tell

log = logging.getLogger(__name__)

KUBEFLOW = "kubeflow"
"""Namespace in which steps run where there are no profiles."""


@dataclass(frozen=True)
class RunArguments:
    """The arguments that a run is started with."""

    kubeflow: Kubeflow
    experiment: str
    pipeline: str
    version: str
    parameters: dict[str, str]
    service_account: str | None
    """ServiceAccount of the steps; None: Kubeflow's own choice."""


def prepared(recipe: Path, overrides: Sequence[str], cluster: Path, experiment: str) -> RunArguments:
    """Return the pipeline, compiled for the cluster and uploaded, and its parameters from the recipe.

    Raises:
        ConfigError: the recipe or the cluster file is wrong. ClusterError: Kubeflow does not answer or refuses.
    """
    config, place = load_config(recipe, overrides), load_cluster(cluster)
    kubeflow = connect(place.namespace)
    if kubeflow.namespace is None and place.namespace != KUBEFLOW:
        log.warning(
            "This Kubeflow has no profiles: steps run in its own namespace, and find only the settings and Secrets "
            "there. %s names the namespace %s; configs/cluster/local.yaml shows what to set.",
            cluster,
            place.namespace,
        )
    with held_folder("oaml-package-") as folder:
        package = folder / "pipeline.yaml"
        compile_pipeline(package, cluster, LOCK)
        pipeline, version = kubeflow.version(package)
    parameters, account = {"config": config_to_yaml(config)}, place.pipeline_service_account
    return RunArguments(kubeflow, kubeflow.experiment(experiment), pipeline, version, parameters, account)


def submit(recipe: Path, overrides: Sequence[str], cluster: Path, experiment: str, name: str) -> str:
    """Start a run; its id."""
    made = prepared(recipe, overrides, cluster, experiment)
    run = tell(
        "start the run",
        lambda: made.kubeflow.client.run_pipeline(
            made.experiment,
            dated(name),
            pipeline_id=made.pipeline,
            version_id=made.version,
            params=made.parameters,
            service_account=made.service_account,
        ),
    )
    return str(run.run_id)


def options(description: str, prog: str) -> argparse.ArgumentParser:
    """Return the options that `submit` and `schedule` share."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f"Options of `oaml train`, as --optim.lr 0.05, override the recipe. In the environment: {ENDPOINT}, "
        f"and {TOKEN} where the server wants one.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, help="recipe: the run's parameters")
    parser.add_argument(
        "--cluster", type=Path, default=CLUSTER, help="cluster file; default: configs/cluster/default.yaml"
    )
    parser.add_argument("--experiment", default=PIPELINE, help="experiment that runs are grouped under")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Start a run as the command line says; exits 0, 1 for an error, 2 for a mistyped command line or recipe."""
    parser = options("Start one run of the pipeline on Kubeflow.", "python -m pipelines.submit")
    parser.add_argument("--name", default=PIPELINE, help="name of the run; the date is added")
    given, overrides = parser.parse_known_args(arguments)
    try:
        print(f"run {submit(given.config, overrides, given.cluster, given.experiment, given.name)}")
    except OamlError as error:
        print(f"oaml: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    end_in_order(main)
