"""Configuration of the training process and of where its metrics go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class TrainConfig:
    """The process: workers, precision, checkpoints."""

    nproc: int | None = None
    """Workers on this machine; None: one a GPU, or 1."""
    min_nodes: int = 1
    """Fewest nodes that an elastic run goes on with."""
    max_nodes: int = 1
    """Most nodes that take part."""
    max_restarts: int = 10
    """Restarts after a failed worker or a change of the number of nodes."""
    worker_timeout_seconds: float = 600.0
    """Seconds that a worker waits for the others before it takes them for lost; more than any validation takes."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 on a GPU that has it, else fp32."""
    channels_last: bool = False
    """Memory layout of images and convolutions: N, H, W, C."""
    compile: bool | Literal["auto"] = False
    """torch.compile the backbone: `on`, `off`, or `auto`: on a GPU, where the C compiler that it needs is there."""
    sync_batchnorm: bool = False
    """Batch normalisation in backbone and visibility head over the global batch; False: over each worker's slice, which
    is faster. For slices of fewer than about 32 images."""
    checkpoint_every_steps: int = 0
    """Steps between checkpoints; 0: by time alone."""
    checkpoint_every_seconds: float = 60.0
    """Seconds between checkpoints; so much work a lost worker costs at most."""
    keep_checkpoints: int = 3
    """Newest periodic checkpoints that are kept, beside `best`."""
    val_every_epochs: float = 1.0
    """Epochs, or a fraction of one, between validations."""
    start_from: str | None = None
    """Checkpoint, a file or an address in a store, of which only the weights are taken."""
    log_every_steps: int = 10
    """Steps between two lines of metrics."""
    log_samples: bool = False
    """Write the (epoch, batch, sample numbers) that every worker consumed to `samples-<rank>.jsonl`."""


@dataclass(frozen=True)
class TrackingConfig:
    """Where metrics go. The CSV in the run's folder is always written."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases; `auto`: online with WANDB_API_KEY in the environment, else offline."""
    project: str = "oaml"
    """Project in Weights & Biases."""


def check_train(train: TrainConfig) -> None:
    """Refuse values of `train` that cannot work.

    Raises:
        ConfigError: names the key to change.
    """
    names = ("val_every_epochs", "worker_timeout_seconds", "keep_checkpoints", "log_every_steps")
    check_positive({f"train.{name}": getattr(train, name) for name in names})
    if train.min_nodes > train.max_nodes:
        raise ConfigError(f"train.min_nodes {train.min_nodes} exceeds train.max_nodes {train.max_nodes}.")
