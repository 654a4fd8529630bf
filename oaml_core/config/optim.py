"""Configuration of the optimiser and its schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_positive
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its schedule."""

    optimiser: Literal["sgd", "adamw"] = "sgd"
    """`sgd`, with momentum; `adamw`, for layers that start from pretrained ones and are to move little."""
    matcher_scale_lr: float = 1.0
    """Factor of the learning rate of the scale and shift that turn cosines of `model.matcher pooled` into scores."""
    epochs: int = 24
    """Passes over the training set."""
    lr: float = 0.1
    """Learning rate at the global batch size given."""
    lr_at_rms: float | None = None
    """Root mean square of weights for which lr is meant, for `adamw` and pretrained layers: those that start smaller
    move in proportion to their start. None: all move alike."""
    scale_lr: bool = False
    """Multiply lr by batch_size · accumulate_grad_batches / 256."""
    schedule: Literal["multistep", "cosine"] = "multistep"
    """Shape of the learning rate over the epochs."""
    lr_milestones: tuple[int, ...] = (8, 12, 14)
    """Epochs at whose start lr is multiplied by lr_gamma (`multistep`)."""
    lr_gamma: float = 0.1
    """Factor of the learning rate at each milestone."""
    warmup_epochs: float = 0.0
    """Linear warm-up from 0."""
    momentum: float = 0.9
    """Momentum of SGD."""
    weight_decay: float = 5e-4
    """L2 penalty; batch-norm parameters and biases have none."""
    accumulate_grad_batches: int = 1
    """Global batches whose gradients one step takes together."""
    gradient_clip_norm: float | None = None
    """Largest L2 norm of the gradient; None: not clipped."""


def check_optim(optim: OptimConfig) -> None:
    """Refuse numbers that are not greater than 0, and keys of the other optimiser.

    Raises:
        ConfigError: names the key to change.
    """
    names = ("epochs", "lr", "accumulate_grad_batches", "matcher_scale_lr")
    check_positive({f"optim.{name}": getattr(optim, name) for name in names})
    if optim.lr_at_rms is not None:
        check_positive({"optim.lr_at_rms": optim.lr_at_rms})
        if optim.optimiser != "adamw":
            raise ConfigError(
                "optim.lr_at_rms is for optim.optimiser adamw, whose steps are as long as the rate; those of "
                f"{optim.optimiser} follow the gradient. Leave one of both out."
            )
