"""Lightning's own trainer takes the planned batches as they are, epoch after epoch and after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from oaml_core.config import DataConfig
from oaml_core.data.batches.plan import BatchSampler, SampleKey
from oaml_core.data.batches.samplers import PKBatchSampler, build_batch_sampler
from oaml_core.errors import ConfigError

LABELS = np.repeat(np.arange(10), 6)
EPOCHS = 3


class Numbers(Dataset[int]):
    """Each sample is its own number."""

    def __getitem__(self, key: SampleKey) -> int:
        return key.image

    def __len__(self) -> int:
        return len(LABELS)


class Killed(Exception):
    """The process ends here."""


def nearest(classes: np.ndarray, count: int) -> np.ndarray:
    return (classes[:, None] + np.arange(1, count + 1)) % 10


class Recorder(L.LightningModule):
    """Writes down what it is given; keeps the position in the plan in its checkpoints."""

    def __init__(self, folder: Path, killed_at: int | None = None, kind: str = "pk") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        config = DataConfig(batch_size=8, num_instances=2, sampler=kind)  # type: ignore[arg-type]
        self.plan: BatchSampler = build_batch_sampler(config, LABELS, seed=0, nearest=nearest)
        self.seen: list[tuple[int, list[int]]] = []
        self.checkpoint = folder / "last.ckpt"
        self.killed_at = killed_at

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Numbers(), batch_sampler=self.plan)

    def training_step(self, batch: Tensor, number: int) -> Tensor:
        self.seen.append((self.current_epoch, batch.tolist()))
        self.plan.load_state_dict({"epoch": self.current_epoch, "batch": number + 1})
        return self.weight.sum()

    def on_train_batch_end(self, *_: Any) -> None:
        if len(self.seen) == self.killed_at:
            self.trainer.save_checkpoint(self.checkpoint)
            raise Killed

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["plan"] = self.plan.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.plan.load_state_dict(checkpoint["plan"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module: Recorder, checkpoint: Path | None = None, **workers: Any) -> None:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = L.Trainer(accelerator="cpu", max_epochs=EPOCHS, **quiet, **workers)
    trainer.fit(module, ckpt_path=checkpoint, weights_only=True)


def planned(folder: Path, kind: str = "pk") -> list[tuple[int, list[int]]]:
    plan = Recorder(folder, kind=kind).plan
    batches = []
    for epoch in range(EPOCHS):
        plan.set_epoch(epoch)
        batches += [(epoch, [key.image for key in batch]) for batch in plan]
    return batches


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["pk", "pk_local", "random_identity", "graph", "shuffle"])
def test_a_trainer_walks_through_the_plan(tmp_path: Path, kind: str) -> None:
    module = Recorder(tmp_path, kind=kind)
    fit(module)
    assert module.seen == planned(tmp_path, kind)


@pytest.mark.filterwarnings("ignore")
def test_a_distributed_trainer_with_its_defaults_walks_through_the_plan(tmp_path: Path) -> None:
    """Where there may be several workers the Trainer wants to inject a sampler of its own."""
    module = Recorder(tmp_path)
    fit(module, devices=1, strategy="ddp")
    assert module.seen == planned(tmp_path)
    torch.distributed.destroy_process_group()


def test_an_injected_sampler_says_which_worker_it_is(tmp_path: Path) -> None:
    from lightning.pytorch.utilities.data import _update_dataloader

    plan = Recorder(tmp_path).plan
    plan.load_state_dict({"epoch": 1, "batch": 2})
    whole = [[key.image for key in plan.global_batch(batch)] for batch in range(2, len(plan))]
    slices = []
    for rank in range(2):
        loader = DataLoader(Numbers(), batch_sampler=plan)
        shared = _update_dataloader(loader, DistributedSampler(Numbers(), num_replicas=2, rank=rank))
        slices.append([batch.tolist() for batch in shared])
    assert [one + other for one, other in zip(*slices, strict=True)] == whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batches", [3, 7, 10])
def test_a_trainer_resumed_from_a_checkpoint_goes_on_with_the_next_batch(tmp_path: Path, batches: int) -> None:
    first, second = Recorder(tmp_path, killed_at=batches), Recorder(tmp_path)
    with pytest.raises(Killed):
        fit(first)
    fit(second, first.checkpoint)
    assert first.seen + second.seen == planned(tmp_path)


def test_a_sampler_has_a_loaders_attributes_and_takes_its_options(caplog: pytest.LogCaptureFixture) -> None:
    sampler = PKBatchSampler(np.repeat(np.arange(20), 5), num_workers=3, colour="red")
    assert (sampler.batch_size, sampler.identities_per_batch, sampler.num_workers) == (64, 16, 3)
    others = ("sampler", "drop_last", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    for name in (*others, "generator", "prefetch_factor", "persistent_workers"):
        assert hasattr(sampler, name), name
    assert "does not use the option colour" in caplog.text


def test_plain_numbers_serve_any_dataset() -> None:
    labels = np.repeat(np.arange(8), 6)
    sampler = PKBatchSampler(labels, num_identities=4, num_instances=3, keys=False)
    assert sampler.batch_size == 12
    loader = DataLoader(torch.utils.data.TensorDataset(torch.from_numpy(labels)), batch_sampler=sampler)
    for (batch,) in loader:
        assert sorted(np.unique(batch.numpy(), return_counts=True)[1]) == [3, 3, 3, 3]
    with pytest.raises(ConfigError, match="Leave one of the three out"):
        PKBatchSampler(labels, 8, num_identities=4, num_instances=3)
