"""Graph sampling and visibility batches in a run: what is seen depends on the model, and survives a restart."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_run import TinyRun
from torch import nn

from oaml_core.config import Config
from oaml_core.data.prepared import open_prepared
from oaml_core.stages.addresses import fetch_dataset
from oaml_core.training.module import frozen
from oaml_core.training.worker import train_as_worker

MIDDLE = "step-0000000006.ckpt"
GRAPH = (
    "--optim.epochs",
    "1",
    "--data.sampler",
    "graph",
    "--data.visibility_batch_size",
    "8",
    "--train.keep_checkpoints",
    "99",
)


@pytest.fixture(autouse=True)
def sigterm_as_it_was() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def samples(config: Config, dataset: Path, run_dir: Path) -> list[list[int]]:
    train_as_worker(config, dataset, run_dir, f"runs/{run_dir.name}")
    lines = [json.loads(line) for line in (run_dir / "samples-0.jsonl").read_text().splitlines()]
    return [line["samples"] for line in lines]


def test_a_restart_in_mid_epoch_keeps_the_graph_of_the_epochs_start(tiny: TinyRun, tmp_path: Path) -> None:
    config = tiny.configured(*GRAPH)
    dataset = fetch_dataset(config, tiny.dataset_uri).directory
    whole = samples(config, dataset, tmp_path / "whole")
    labels = open_prepared(dataset).train.labels
    assert all(len(set(labels[batch])) == 4 for batch in whole)
    (tmp_path / "again" / "checkpoints").mkdir(parents=True)
    shutil.copy(tmp_path / "whole" / "checkpoints" / MIDDLE, tmp_path / "again" / "checkpoints" / MIDDLE)
    assert samples(config, dataset, tmp_path / "again") == whole[6:]


def test_a_frozen_module_is_afterwards_as_it_was() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    module[1].eval()
    before = module[0].running_mean.clone()
    with frozen(module):
        module(torch.randn(8, 2) + 5)
    assert torch.equal(module[0].running_mean, before)
    assert [part.training for part in module] == [True, False]
