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
        ("training: {labels: {a b: c}}", "training.labels: 'a b' is no name of a label"),
        ("training: {job_labels: {team: 'no, not so'}}", "training.labels: the value 'no, not so' of team"),
        ("training: {labels: {a..b/c: d}}", "'a..b/c' is no name of a label"),
        ("training: {labels: {A.b/c: d}}", "'A.b/c' is no name of a label"),
        ("stages: {train: {node_selector: {pool: 'gpu pool'}}}", "stages.train.node_selector: the value 'gpu pool'"),
        ("training: {node_selector: {'my pool': gpu}}", "training.node_selector: 'my pool' is no name of a label"),
        ("training: {tolerations: [{key: 'nvidia.com/'}]}", "training.tolerations: 'nvidia.com/' is no name"),
        ("training: {tolerations: [{key: '', operator: Equal, value: b}]}", "training.tolerations: '' is no name"),
        ("training: {gpu_resource: gpu}", "training.gpu_resource is 'gpu'; it has a domain"),
        ("training: {gpu_resource: nvidia.com/a b}", "training.gpu_resource: 'nvidia.com/a b' is no name"),
        (
            "stages: {train: {memory: 4Gi, memory_limit: 4G}}",
            "stages.train.memory_limit is less than stages.train.memory",
        ),
        ("training: {cpu: '2', cpu_limit: 1500m}", "training.cpu_limit is less than training.cpu"),
        ("training: {memory: 512m}", "training.memory is '512m'; it must be a quantity such as 512Mi"),
        ("training: {memory: 512K}", "training.memory is '512K'; it must be a quantity such as 512Mi"),
        ("cache: {kind: pvc, claim: My Claim}", "cache.claim is 'My Claim'"),
        ("cache: {path: oaml}", "cache.path is 'oaml'; it must be an absolute path"),
        ("cache: {path: /tmp/}", "cache.path is '/tmp/', which is taken"),
        ("training: {priority_class: Low_}", "training.priority_class is 'Low_'"),
        ("training: {queue: 'team/queue'}", "training.queue is 'team/queue'"),
        ("training: {runtime: ''}", "training.runtime is ''"),
        ("training: {scheduler: volcano!}", "training.scheduler is 'volcano!'"),
        ("config_maps: [{name: a, keys: {'a b': C}}]", "config_maps[0].keys: 'a b' is no key"),
        ("secrets: [{name: a, keys: {b: 'C D'}}]", "'C D' is no name of an environment variable"),
        ("training: {env: {1A: x}}", "'1A' is no name of an environment variable"),
        (
            "config_maps: [{name: a, keys: {b: C}}]\nsecrets: [{name: d, keys: {e: C}}]",
            "both config_maps[0].keys.b and secrets[0].keys.e give C",
        ),
        ("registry: Registry.example.com/Team", "registry is 'Registry.example.com/Team'"),
        ("registry: https://registry.example.com", "registry is 'https://registry.example.com'"),
        ("training: {image: 'oaml/train: 1'}", "training.image is 'oaml/train: 1'"),
        ("run_as_user: -1", "run_as_user is -1; it must be from 0 to"),
        ("training: {fs_group: 3000000000}", "training.fs_group is 3000000000"),
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


@pytest.mark.parametrize(
    "text",
    [
        "secrets: [{name: my.secret, keys: {.dockerconfig: A, a_b-c.d: B}}]",
        "training: {tolerations: [{key: ''}], node_selector: {example.com/pool: ''}}",
        "training: {image: 'localhost:5001/team/oaml_train:0.1.0@sha256:%s'}" % ("0" * 64),
        "training: {cpu: 500m, cpu_limit: '0.5', memory: 1Gi, memory_limit: 2G}",
        "registry: registry.example.com:5000/team/faces",
        "training: {annotations: {k8s.v1.cni.cncf.io/networks: rdma, plain_name: ''}}",
    ],
)
def test_what_a_cluster_takes_is_taken(text: str) -> None:
    dataclass_from_yaml(ClusterConfig, text, "It")
