"""Configuration of the training process and of where its metrics go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.config.occluders import check_occluders
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
    precision: Literal["auto", "native", "fp32", "bf16", "fp16"] = "auto"
    """`auto`: bf16 on a GPU that has it, else fp32. `native`: the same, and bf16 on a processor with instructions for
    it (AMX, AVX-512 BF16). On other processors bf16 takes many times as long as fp32."""
    channels_last: bool = False
    """Memory layout of images and convolutions: N, H, W, C."""
    compile: bool | Literal["auto"] = False
    """torch.compile backbone and local layers: `on`, `off`, or `auto`: on a GPU, where the C compiler that it needs is
    there."""
    sync_batchnorm: bool = False
    """Batch normalisation in backbone and visibility head over the global batch; False: over each worker's slice, which
    is faster. For slices of fewer than about 32 images."""
    checkpoint_every_steps: int = 0
    """Steps between checkpoints; 0: by time alone."""
    checkpoint_every_seconds: float = 60.0
    """Seconds between checkpoints; so much work a lost worker costs at most."""
    keep_checkpoints: int = 3
    """Newest periodic checkpoints that are kept, beside `best`."""
    val_every_epochs: float | Literal["auto"] = 1.0
    """Epochs, or a fraction of one, between validations; `auto`: 0.1 in runs of at most 4 epochs, else 1."""
    start_from: str | None = None
    """Checkpoint, a file or an address in a store, of which only the weights are taken."""
    average_decay: float = 0.0
    """Share, in [0, 1), that the mean of the recogniser's weights keeps of itself in a step. That mean is validated,
    evaluated and exported then; 0: no mean is kept, the last weights are."""
    average_with_start: float = 0.0
    """Share, in [0, 1), of the weights that training started from in what is validated, evaluated and exported; the
    closer to them, the less foreign clean faces change (Wortsman et al. 2022). The visibility head, which starts at
    random, is left out."""
    validation_occluders: tuple[str, ...] = ()
    """Drawn occluders that the second faces of the verification pairs wear in further validations, in training's
    artwork. `val_acc`, which chooses the best checkpoint, is then the mean over uncovered and covered pairs."""
    best_tolerance: float = 0.0
    """How far below the highest `val_acc`, in [0, 1], a later checkpoint may lie and still be kept as the best. Near
    its limit an accuracy differs by chance; the longer training decides then."""
    stop_after_validations: int = 0
    """Validations in a row without a better `val_acc` after which training ends; 0: it goes on to the last epoch. The
    verification sets of `data.source` decide: give it sets of other origin than the training faces."""
    log_every_steps: int = 10
    """Steps between two lines of metrics."""
    log_samples: bool = False
    """Write the (epoch, batch, sample numbers) that every worker consumed to `samples-<rank>.jsonl`."""


@dataclass(frozen=True)
class TrackingConfig:
    """Destinations of the metrics. The CSV in the run's folder is always written."""

    wandb: Literal["auto", "online", "offline", "off"] = "auto"
    """Weights & Biases; `auto`: online with WANDB_API_KEY in the environment, else offline."""
    mlflow: Literal["auto", "off"] = "auto"
    """MLflow; `auto`: the server of MLFLOW_TRACKING_URI, if the environment names one."""
    project: str = "oaml"
    """Project in Weights & Biases, experiment in MLflow."""
    sample_images: bool = False
    """Show the sheet of training samples in Weights & Biases too: faces then leave for its servers."""


SHORT_RUN = 4
"""Epochs up to which `val_every_epochs: auto` validates ten times as often."""


def validation_interval(train: TrainConfig, epochs: int) -> float:
    """Return the epochs between validations of a run.

    Args:
        train: its `val_every_epochs`.
        epochs: of the run.
    """
    if train.val_every_epochs == "auto":
        return 1.0 if epochs > SHORT_RUN else 0.1
    return train.val_every_epochs


def check_train(train: TrainConfig) -> None:
    """Refuse values of `train` that cannot work.

    Raises:
        ConfigError: names the key to change.
    """
    if train.val_every_epochs != "auto":
        check_positive({"train.val_every_epochs": train.val_every_epochs})
    names = ("worker_timeout_seconds", "keep_checkpoints", "log_every_steps")
    check_positive({f"train.{name}": getattr(train, name) for name in names})
    for name in ("average_decay", "average_with_start"):
        if not 0 <= getattr(train, name) < 1:
            raise ConfigError(f"train.{name} is {getattr(train, name)}; it is a share and must lie in [0, 1).")
    if not 0 <= train.best_tolerance < 1:
        raise ConfigError(f"train.best_tolerance is {train.best_tolerance}; it is an accuracy's part, in [0, 1).")
    check_occluders(train.validation_occluders, "train.validation_occluders", None)
    if train.stop_after_validations < 0:
        raise ConfigError(f"train.stop_after_validations is {train.stop_after_validations}; it must be 0 or more.")
    if train.min_nodes > train.max_nodes:
        raise ConfigError(f"train.min_nodes {train.min_nodes} exceeds train.max_nodes {train.max_nodes}.")
