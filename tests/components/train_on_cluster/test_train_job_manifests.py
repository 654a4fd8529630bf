"""Manifests of a TrainJob: of fixed size, or elastic by our own runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from kubernetes_server.kube_schema import schema_errors
from test_manifests import FIXED, FULL, REPO, rendered
from training_place import CONFIG, DATASET

from components.cluster import GangConfig, TrainingConfig
from components.train.backends import BACKENDS
from components.train.run import training_run
from oaml_core.errors import ConfigError


def test_a_train_job_is_of_fixed_size() -> None:
    fixed = replace(FULL, training=replace(FULL.training, runtime="torch-distributed"))
    spec = rendered("trainjob", FIXED, fixed)["spec"]
    assert (spec["trainer"]["numNodes"], spec["trainer"]["numProcPerNode"]) == (2, 1)
    assert not any(each["name"].startswith("PET_") for each in spec["trainer"]["env"])  # the torch plugin refuses them
    with pytest.raises(ConfigError, match=r"has a fixed size, .* training\.runtime: oaml-elastic"):
        rendered("trainjob", CONFIG, fixed)


def test_a_train_job_of_our_own_runtime_is_elastic() -> None:
    manifest = rendered("trainjob")
    assert schema_errors("trainjobs", manifest) == []
    spec, name = manifest["spec"], manifest["metadata"]["name"]
    assert spec["runtimeRef"] == {
        "name": "oaml-elastic",
        "kind": "ClusterTrainingRuntime",
        "apiGroup": "trainer.kubeflow.org",
    }
    assert spec["trainer"]["numNodes"] == 2
    told = {each["name"]: each.get("value") for each in spec["trainer"]["env"] if each["name"].startswith("PET_")}
    assert told == {
        "PET_NNODES": "1:2",
        "PET_NPROC_PER_NODE": "1",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ID": name,
        "PET_RDZV_ENDPOINT": f"{name}-node-0-0.{name}:29400",
        "PET_RDZV_CONF": "join_timeout=1800,last_call_timeout=30",
        "PET_MAX_RESTARTS": str(CONFIG.train.max_restarts),
    }


def test_the_runtime_that_comes_with_oaml_is_valid_and_is_the_one_that_jobs_name() -> None:
    runtime = yaml.safe_load((REPO / "k8s" / "trainer" / "elastic-runtime.yaml").read_text())
    assert schema_errors("clustertrainingruntimes", runtime) == []
    assert runtime["metadata"]["name"] == TrainingConfig().runtime
    assert "torch" not in runtime["spec"]["mlPolicy"]
    (node,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    assert node["name"] == "node"
    job = node["template"]["spec"]
    assert [each["name"] for each in job["template"]["spec"]["containers"]] == [BACKENDS["trainjob"].container]
    decided = [each for each in job["podFailurePolicy"]["rules"] if "onExitCodes" in each]
    acts = {code: _action(decided, code) for code in (1, 2, 127, 134, 137, 139, 143)}
    assert acts == {1: "FailJob", 2: "FailJob", 127: "FailJob", 134: "Count", 137: "Count", 139: "Count", 143: "Count"}


def _action(rules: list[dict[str, Any]], code: int) -> str:
    """What the Job controller does with a container that ended with `code`."""
    for rule in rules:
        wanted = rule["onExitCodes"]
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return rule["action"]
    return "Count"


@pytest.mark.parametrize("prefix", ["runs/night-0123456789abcdef", f"runs/{'x' * 80}-0123456789abcdef"])
def test_names_of_a_train_jobs_pods_are_labels(prefix: str) -> None:
    name = BACKENDS["trainjob"].manifest(training_run(CONFIG, DATASET, prefix, FULL), FULL)["metadata"]["name"]
    assert len(f"{name}-node-0-999-abcde") <= 63
    assert name.endswith("0123456789abcdef")


@pytest.mark.parametrize(
    "change",
    [
        {"priority_class": "nightly"},
        {"gang": GangConfig(enabled=True)},
        {"scheduler": "volcano"},
        {"runtime_class": "nvidia"},
    ],
)
def test_what_a_train_job_lacks_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no part of a TrainJob"):
        rendered("trainjob", FIXED, replace(FULL, training=replace(FULL.training, **change)))
