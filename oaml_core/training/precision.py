"""The precision context of a training step: the same on one worker as on many, and on record in the log."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

log = logging.getLogger(__name__)


def training_step(fabric: Fabric, model: Any, *arguments: Any) -> Any:
    """Return `model.training_step(*arguments)`, computed in the precision that `fabric` was built with.

    Fabric converts inputs and enters its precision context on its own only where data-parallel training wraps the
    module, so both are done here for any number of workers.

    Args:
        fabric: brings the precision.
        model: a module as Fabric wraps it, with `training_step` as a marked forward method.
        arguments: of the step.
    """
    arguments = fabric.strategy.precision.convert_input(arguments)
    with fabric.autocast():
        return model.training_step(*arguments)


def product_type(device_type: str) -> torch.dtype:
    """Return the type that convolutions and matrix products use at this moment on a device of this type."""
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return torch.get_default_dtype()


def log_product_type(module: nn.Module, device: torch.device) -> None:
    """Write one line to the log in the next forward pass of `module`: the type of its products.

    Args:
        module: a part of the trained module that is not compiled itself.
        device: where it runs.
    """

    def note(*_: Any) -> None:
        handle.remove()
        kind = str(product_type(device.type)).removeprefix("torch.")
        log.info("arithmetic: products in %s, weights in float32, on %s", kind, device.type)

    handle = module.register_forward_pre_hook(note)
