"""Graph sampling and visibility batches in a run: what is seen depends on the model, and survives a restart."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from gloo_workers import run_workers
from tiny_run import TinyRun
from torch import nn

from oaml_core.config import Config
from oaml_core.data.prepared.prepared import open_prepared
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


def samples(run_dir: Path, workers: int = 1) -> list[list[int]]:
    """Global batches that the workers consumed."""
    files = [(run_dir / f"samples-{rank}.jsonl").read_text().splitlines() for rank in range(workers)]
    return [[sample for line in lines for sample in json.loads(line)["samples"]] for lines in zip(*files, strict=True)]


def work(rank: int, size: int, config: Config, dataset: Path, run_dir: Path) -> None:
    """Train as worker `rank` of torchrun's does."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(number) for name, number in numbers.items()} | {"TORCHELASTIC_RUN_ID": "test"}
    train_as_worker(config, dataset, run_dir, "runs/two")


def test_one_worker_goes_on_in_mid_epoch_with_the_graph_that_two_began_with(tiny: TinyRun, tmp_path: Path) -> None:
    config = tiny.configured(*GRAPH)
    dataset = fetch_dataset(config, tiny.dataset_uri).directory
    run_workers(work, 2, 2, config, dataset, tmp_path / "two")
    planned = samples(tmp_path / "two", workers=2)
    labels = open_prepared(dataset).train.labels
    assert len(planned) == 12
    assert all(len(set(labels[batch])) == 4 for batch in planned)
    (tmp_path / "one" / "checkpoints").mkdir(parents=True)
    shutil.copy(tmp_path / "two" / "checkpoints" / MIDDLE, tmp_path / "one" / "checkpoints" / MIDDLE)
    train_as_worker(config, dataset, tmp_path / "one", "runs/one")
    assert samples(tmp_path / "one") == planned[6:]


def test_a_frozen_module_is_afterwards_as_it_was() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    module[1].eval()
    before = module[0].running_mean.clone()
    with frozen(module):
        module(torch.randn(8, 2) + 5)
    assert torch.equal(module[0].running_mean, before)
    assert [part.training for part in module] == [True, False]
