"""The train stage: workers elsewhere, and nodes that do not have the main worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Timer

import pytest

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.errors import OamlError
from oaml_core.stages import train_stage
from oaml_core.store import open_store
from oaml_core.training import launcher

DATASET = "s3://nowhere/datasets/f1"
RESULT = json.dumps({"best_val_acc": 0.9, "val_acc": 0.8}).encode()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def test_a_launcher_trains_elsewhere_and_nothing_but_the_result_is_read(config: Config, tmp_path: Path) -> None:
    asked = []

    def elsewhere(config: Config, dataset_uri: str, run_prefix: str) -> None:
        asked.append((dataset_uri, run_prefix))
        open_store(config.store).write_bytes(f"{run_prefix}/{launcher.RESULT}", RESULT)

    prefix = stages.run_prefix(config, DATASET)
    for _ in range(2):
        trained = stages.train(config, DATASET, launcher=elsewhere)
        assert (trained.val_acc, trained.metrics) == (0.9, {"val_acc": 0.8})
        assert trained.checkpoint_uri.endswith(f"{prefix}/best.ckpt")
    assert asked == [(DATASET, prefix)], "what is there is not trained again"
    assert not (tmp_path / "work").exists()


@pytest.fixture
def ended_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of this node that have ended, none of them the main one."""

    class Dataset:
        directory = Path("nowhere")

    monkeypatch.setattr(train_stage, "fetch_dataset", lambda *_: Dataset())
    monkeypatch.setattr(launcher, "launch", lambda *_, **__: None)
    monkeypatch.setattr(train_stage, "POLL_SECONDS", 0.02)


@pytest.mark.usefixtures("ended_workers")
def test_a_node_without_the_main_worker_waits_for_the_result(config: Config) -> None:
    key = f"{stages.run_prefix(config, DATASET)}/{launcher.RESULT}"
    handed_in = Timer(0.3, lambda: open_store(config.store).write_bytes(key, RESULT))
    handed_in.start()
    assert stages.train(config, DATASET).val_acc == 0.9
    handed_in.join()


@pytest.mark.usefixtures("ended_workers")
def test_a_result_that_does_not_come_is_missed(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_stage, "RESULT_SECONDS", 0.1)
    with pytest.raises(OamlError, match="log of the node with the main worker says why"):
        stages.train(config, DATASET)
