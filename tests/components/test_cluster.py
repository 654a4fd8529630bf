"""Cluster files: what they say, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.cluster import ClusterConfig, load_cluster
from oaml_core.errors import ConfigError
from oaml_core.settings import config_to_yaml, dataclass_from_yaml

CLUSTERS = sorted((Path(__file__).parents[2] / "configs" / "cluster").glob("*.yaml"))


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.name)
def test_the_files_that_come_with_oaml_can_be_read_and_written(path: Path) -> None:
    cluster = load_cluster(path)
    assert dataclass_from_yaml(ClusterConfig, config_to_yaml(cluster), "It") == cluster


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("namespac: x", "Did you mean 'namespace'"),
        ("training: {gpuss: 1}", "Did you mean 'training.gpus'"),
        ("training_backend: pytorch", "Did you mean 'pytorchjob'"),
        ("stages: {trainn: {}}", "stages.trainn: there is no such step; the steps are preprocess, train"),
        ("stages: {train: {cpus: '1'}}", "cpus"),
        ("stages: {train: {memory: 3X}}", "stages.train.memory is '3X'; it must be a quantity"),
        ("training: {cpu: 4Gi}", "training.cpu is '4Gi'; it must be a number of cores"),
        ("training: {shared_memory: lots}", "training.shared_memory is 'lots'"),
        ("training: {ttl_seconds: -1}", "training.ttl_seconds is -1; it must be 0 or more"),
        ("retries: {count: -1}", "retries.count is -1"),
        ("training: {gpus: -1}", "training.gpus is -1"),
        ("stages: {export: {gpus: 1}}", "stages.export.gpus: the step export makes no use of a GPU"),
        ("stages: {train: {gpus: 1}}", "training.gpus is what its job gets"),
        ("config_maps: [{name: Oaml}]", "config_maps[0].name is 'Oaml'"),
        ("training: {tolerations: [{key: a, value: b}]}", "training.tolerations: a has a value"),
        ("namespace: Faces", "namespace is 'Faces'"),
        ("secrets: [{name: oaml_store}]", "secrets[0].name is 'oaml_store'"),
        ("image_pull_secrets: ['']", "image_pull_secrets[0] is ''"),
        ("training: {labels: {a b: c}}", "training: 'a b' is no name of a label"),
        ("training: {job_labels: {team: 'no, not so'}}", "training.labels: the value 'no, not so' of team"),
        ("stages: {train: {labels: {oaml.io/role: worker}}}", "stages.train.labels: oaml.io/role is set by OAML"),
        ("stages: {train: {annotations: {'': x}}}", "stages.train: '' is no name"),
        ("stages: {train: {shared_memory: big}}", "stages.train.shared_memory is 'big'"),
        ("training: {service_account: My Account}", "training.service_account is 'My Account'"),
        ("cache: {kind: pvc}", "cache.claim is not set"),
        ("training: 3", "A plain value stands where a group of keys belongs (training)"),
        ("training: {gang: 3}", "A plain value stands where a group of keys belongs (gang)"),
        ("- a", "must be a YAML mapping"),
    ],
)
def test_what_cannot_work_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        load_cluster(path)
    assert words in str(raised.value)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no cluster file .*nowhere\.yaml"):
        load_cluster(tmp_path / "nowhere.yaml")


def test_a_train_step_that_runs_the_workers_itself_may_have_gpus() -> None:
    text = "training_backend: local\nstages: {train: {gpus: 2}}"
    assert dataclass_from_yaml(ClusterConfig, text, "It").stages["train"].gpus == 2


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("namespace: null", "namespace"),
        ("secrets:", "secrets"),
        ("shards: null", "shards"),
        ("training: {job_labels: null}", "training.job_labels"),
        ("cache: {size_limit: null}", "cache.size_limit"),
    ],
)
def test_null_is_refused_by_name_where_a_value_must_be(text: str, key: str, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"cluster\.yaml: {key} is null; it must have a value"):
        load_cluster(tmp_path / "cluster.yaml")
