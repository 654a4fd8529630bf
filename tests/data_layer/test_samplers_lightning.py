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

from oaml_core.config import DataConfig
from oaml_core.data.batch_plan import BatchSampler, SampleKey
from oaml_core.data.samplers import build_batch_sampler

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


class Recorder(L.LightningModule):
    """Writes down what it is given; keeps the position in the plan in its checkpoints."""

    def __init__(self, folder: Path, killed_at: int | None = None) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.plan: BatchSampler = build_batch_sampler(DataConfig(batch_size=8, num_instances=2), LABELS, seed=0)
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


def fit(module: Recorder, checkpoint: Path | None = None) -> None:
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    trainer = L.Trainer(accelerator="cpu", max_epochs=EPOCHS, use_distributed_sampler=False, **quiet)
    trainer.fit(module, ckpt_path=checkpoint, weights_only=True)


def planned(folder: Path) -> list[tuple[int, list[int]]]:
    plan = Recorder(folder).plan
    batches = []
    for epoch in range(EPOCHS):
        plan.set_epoch(epoch)
        batches += [(epoch, [key.image for key in batch]) for batch in plan]
    return batches


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_walks_through_the_plan(tmp_path: Path) -> None:
    module = Recorder(tmp_path)
    fit(module)
    assert module.seen == planned(tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batches", [3, 7, 10])
def test_a_trainer_resumed_from_a_checkpoint_goes_on_with_the_next_batch(tmp_path: Path, batches: int) -> None:
    first, second = Recorder(tmp_path, killed_at=batches), Recorder(tmp_path)
    with pytest.raises(Killed):
        fit(first)
    fit(second, first.checkpoint)
    assert first.seen + second.seen == planned(tmp_path)
