"""Workers that really train, in pods that are processes of this machine, with the store as all that they share."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from operator_part import wait_for
from pod_processes import PodProcesses, is_listening, kill
from training_place import CLUSTER, Place

from components.cluster import CacheConfig, ClusterConfig, EnvironmentConfig
from components.train.cluster_launcher import ClusterLauncher
from oaml_core import stages
from oaml_core.config import Config
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.settings import config_from_yaml
from oaml_core.store import open_store

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
train: {nproc: 1, min_nodes: 1, max_nodes: 2, checkpoint_every_steps: 2, log_every_steps: 1}
evaluate: {batch_size: 40, occluders: [surgical]}
tracking: {wandb: 'off'}
"""


@pytest.mark.slow
@pytest.mark.parametrize("place", ["double"], indirect=True)
def test_the_pod_that_keeps_the_rendezvous_is_killed_and_the_run_ends_well_all_the_same(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with embedded_s3(tmp_path / "s3") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        config = replace(config_from_yaml(RECIPE), work_dir=str(tmp_path / "step"))
        dataset = stages.prepare(config).dataset_uri
        cluster = replace(
            CLUSTER,
            secrets=[EnvironmentConfig("oaml-store", {name.lower(): name for name in variables})],
            cache=CacheConfig(path="cache"),
            training=replace(CLUSTER.training, gpus=0, last_call_seconds=5),
        )
        trained: Future[stages.Trained] = Future()
        step = Thread(target=_train, args=(config, dataset, cluster, trained), daemon=True)
        step.start()
        pods = PodProcesses(place.operator, place.operator.job(), variables, tmp_path)
        main = pods.start(0)
        wait_for(lambda: is_listening(pods.endpoint), seconds=200)  # it keeps the rendezvous
        other = pods.start(1)
        prefix = stages.run_prefix(config, dataset)
        store = open_store(config.store)
        wait_for(lambda: store.exists(f"{prefix}/checkpoints/last.json"), seconds=300)
        lost = f"{pods.job['metadata']['name']}-worker-0"
        kill(main)
        place.operator.set_condition(pods.job, "Restarting")
        place.operator.end_container(lost, 137, "OOMKilled")
        wait_for(lambda: "ran out of memory" in caplog.text)
        place.operator.delete_pod(lost)
        again = pods.start(0)
        assert [process.wait(300) for process in (other, again)] == [0, 0], pods.text()
        place.operator.set_condition(pods.job, "Succeeded")
        result = trained.result(60)
        assert result.checkpoint_uri == store.url(f"{prefix}/best.ckpt")
        assert store.exists(f"{prefix}/best.ckpt")
        assert "resumes from step-" in pods.text()
        said = capsys.readouterr().out
        assert set(said.splitlines()) == set(pods.lines[f"{pods.job['metadata']['name']}-worker-0"])
        assert not list((tmp_path / "step").glob("runs/*/checkpoints/*")), "no checkpoint comes to the step's own pod"
        report = stages.evaluate(config, dataset, result.checkpoint_uri).report
        heard = said + caplog.text + str(place.operator.jobs()) + pods.text() + report.read_text()
        credentials = [name for name in variables if name.startswith("AWS_")]
        assert len(credentials) == 2
        assert [name for name in credentials if variables[name] in heard] == []


def _train(config: Config, dataset: str, cluster: ClusterConfig, trained: Future[stages.Trained]) -> None:
    try:
        trained.set_result(stages.train(config, dataset, launcher=ClusterLauncher(cluster)))
    except BaseException as error:
        trained.set_exception(error)
