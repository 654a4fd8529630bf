"""Workers that really train, in pods that are processes of this machine, with the store as all that they share."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from consumption import Consumed, attempts, consumed, planned
from operator_part import wait_for
from pod_processes import PodProcesses, is_listening
from training_place import CLUSTER, Place

from components.cluster import CacheConfig, ClusterConfig, EnvironmentConfig
from components.train.cluster_launcher import ClusterLauncher
from oaml_core import stages
from oaml_core.config import Config
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.settings import config_from_yaml
from oaml_core.store import open_store
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.stored_checkpoints import POINTER

RECIPE = """
name: night
store: s3://oaml/faces
data:
  batch_size: 16
  num_workers: 0
  synthetic_identities: 16
  synthetic_images_per_identity: 8
  synthetic_pairs: 40
model: {arch: ir_mini, width: 4, m: 0.4, h: 0.333}
optim: {epochs: 2, lr: 0.05}
train: {nproc: 1, min_nodes: 1, max_nodes: 2, checkpoint_every_steps: 2, log_every_steps: 1, log_samples: true}
evaluate: {batch_size: 40, occluders: [surgical]}
tracking: {wandb: 'off'}
"""
PATIENCE = 400.0
"""Longest wait in seconds for what workers do, on a machine with other work."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass
class Step:
    """A pipeline's step that trains on a cluster, and the pods of its job."""

    config: Config
    dataset: str
    trained: Future[stages.Trained]
    pods: PodProcesses
    credentials: list[str]

    @property
    def prefix(self) -> str:
        return stages.run_prefix(self.config, self.dataset)

    def has_checkpoint(self) -> bool:
        return open_store(self.config.store).exists(f"{self.prefix}/checkpoints/{POINTER}")

    def sizes(self) -> list[int]:
        """Number of workers, as often as it changed."""
        return [size for size, _ in attempts(*self._run_dirs())]

    def consumed(self) -> Consumed:
        return consumed(*self._run_dirs())

    def planned(self, epochs: int) -> Consumed:
        labels = np.array(stages.fetch_dataset(self.config, self.dataset).train.labels)
        return planned(self.config, labels, epochs)

    def _run_dirs(self) -> list[Path]:
        return self.pods.folders(f"cache/{self.prefix}")


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    """The recipe; where a test names a number of epochs, with so many, and validated after the last one."""
    found = replace(config_from_yaml(RECIPE), work_dir=str(tmp_path / "step"))
    if (epochs := getattr(request, "param", None)) is None:
        return found
    train = replace(found.train, val_every_epochs=float(epochs))
    return replace(found, optim=replace(found.optim, epochs=epochs), train=train)


@pytest.fixture
def step(place: Place, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    with embedded_s3(tmp_path / "s3") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        dataset = stages.prepare(config).dataset_uri
        cluster = replace(
            CLUSTER,
            training_backend=place.operator.backend,
            config_maps=[],
            secrets=[EnvironmentConfig("oaml-store", {name.lower(): name for name in variables})],
            cache=CacheConfig(path="/cache"),
            training=replace(CLUSTER.training, gpus=0, cpu="1", last_call_seconds=5),
        )
        trained: Future[stages.Trained] = Future()
        Thread(target=_train, args=(config, dataset, cluster, trained), daemon=True).start()
        pods = PodProcesses(place.operator, place.operator.job(), variables, tmp_path / "pods")
        credentials = [value for name, value in variables.items() if name.startswith("AWS_")]
        yield Step(config, dataset, trained, pods, credentials)
        pods.end()


def _train(config: Config, dataset: str, cluster: ClusterConfig, trained: Future[stages.Trained]) -> None:
    try:
        trained.set_result(stages.train(config, dataset, launcher=ClusterLauncher(cluster)))
    except BaseException as error:
        trained.set_exception(error)


@pytest.mark.parametrize("place", ["double"], indirect=True)
def test_the_pod_that_keeps_the_rendezvous_is_killed_and_the_run_ends_well_all_the_same(
    step: Step, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    pods = step.pods
    pods.give_room(0)
    wait_for(lambda: is_listening(pods.endpoint), seconds=PATIENCE)  # it keeps the rendezvous
    pods.give_room(1)
    wait_for(step.has_checkpoint, seconds=PATIENCE)
    pods.kill(0, "OOMKilled")
    wait_for(lambda: "ran out of memory" in caplog.text)
    assert pods.wait(PATIENCE), pods.text()
    result = step.trained.result(60)
    store = open_store(step.config.store)
    assert result.checkpoint_uri == store.url(f"{step.prefix}/best.ckpt")
    assert store.exists(f"{step.prefix}/best.ckpt")
    assert "resumes from step-" in pods.text()
    assert step.consumed() == step.planned(2)
    said = capsys.readouterr().out
    assert set(said.splitlines()) == set(pods.lines[0])
    assert not list((tmp_path / "step").glob("runs/*/checkpoints/*")), "no checkpoint comes to the step's own pod"
    report = stages.evaluate(step.config, step.dataset, result.checkpoint_uri).report.read_text()
    heard = said + caplog.text + str(pods.operator.jobs()) + pods.text() + report
    assert len(step.credentials) == 2
    assert [value for value in step.credentials if value in heard] == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("place", "shrinks"), [("trainer", "evicted"), ("double", "evicted"), ("double", "scaled")], indirect=["place"]
)
@pytest.mark.parametrize("config", [200], indirect=True)
def test_a_job_that_grows_shrinks_and_grows_again_trains_on_exactly_what_was_planned(
    step: Step, shrinks: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pods = step.pods
    pods.give_room(0)
    wait_for(lambda: step.sizes() == [1] and step.has_checkpoint(), seconds=PATIENCE)
    pods.give_room(1)
    wait_for(lambda: step.sizes() == [1, 2], seconds=PATIENCE)
    pods.evict(1) if shrinks == "evicted" else pods.scale(1)
    wait_for(lambda: step.sizes() == [1, 2, 1], seconds=PATIENCE)
    assert ("its node is drained" in caplog.text) is (shrinks == "evicted")
    pods.give_room(1) if shrinks == "evicted" else pods.scale(2)
    wait_for(lambda: step.sizes() == [1, 2, 1, 2], seconds=PATIENCE)
    pods.operator.delete_job(pods.job)
    assert "was deleted" in str(step.trained.exception(60))
    pods.end()
    store, checkpoints = open_store(step.config.store), f"{step.prefix}/checkpoints"
    newest = store.read_json(f"{checkpoints}/{POINTER}", ("name",))["name"]
    store.get_file(f"{checkpoints}/{newest}", tmp_path / newest)
    at = read_checkpoint(tmp_path / newest)["position"]
    plan = {key: value for key, value in step.planned(at["epoch"] + 1).items() if key < (at["epoch"], at["batch"])}
    assert len(plan) == at["step"]
    assert step.consumed() == plan
