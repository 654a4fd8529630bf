"""Devices, precision and the process group, as Lightning Fabric sets them up."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from oaml_core.config import TrainConfig
from oaml_core.models.matcher import is_fast_in_bfloat16
from oaml_core.training.meeting import join_on_this_machine
from oaml_core.training.world import World

log = logging.getLogger(__name__)

PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Fabric's names."""


class ElasticWorkers(TorchElasticEnvironment):
    """torchrun's environment with any number of workers per node, because a node that is left may have fewer GPUs."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept any setting; Lightning's own check wants the same number of workers on every node."""


def build_fabric(config: TrainConfig, world: World) -> Fabric:
    """Fabric for this worker; with several, their process group is up after `launch()`."""
    cuda = torch.cuda.is_available()
    precision: Any = PRECISION[_chosen(config.precision, cuda)]
    accelerator = "cuda" if cuda else "cpu"
    if world.size == 1:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)
    # Small decisions travel between CPUs, so that they do not wait for what a GPU has queued.
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    timeout = timedelta(seconds=config.worker_timeout_seconds)
    join_on_this_machine(world, backend, timeout)  # Fabric takes a process group that is up already
    strategy = DDPStrategy(
        process_group_backend=backend,
        timeout=timeout,
        find_unused_parameters=False,
        gradient_as_bucket_view=True,
        # Running statistics are averaged over the workers when they are used, not copied from one at every step.
        broadcast_buffers=False,
        init_sync=False,  # `set_up` does it, without what each worker has of its own
    )
    return Fabric(
        accelerator=accelerator,
        devices=world.local_size,
        strategy=strategy,
        precision=precision,
        plugins=[ElasticWorkers()],
    )


def _chosen(asked: str, cuda: bool) -> str:
    """Return the precision that `train.precision` means on this machine: a key of `PRECISION`."""
    if asked == "native":
        return "bf16" if is_fast_in_bfloat16("cuda" if cuda else "cpu") else "fp32"
    if asked == "auto":
        return "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    if asked == "bf16" and not cuda and not is_fast_in_bfloat16("cpu"):
        log.warning(
            "train.precision is bf16, but this processor has no instructions for it: steps take many times as long as "
            "in fp32. Set train.precision to native, which takes bf16 only where it is quick."
        )
    return asked


def set_up(fabric: Fabric, module: nn.Module, optimiser: Optimizer, own: str | None = None) -> tuple[Any, Any]:
    """Return `module` and `optimiser` as Fabric wraps them; every worker starts with the main worker's weights.

    Args:
        fabric: of this worker; its process group is up.
        module: on any device; it goes to the worker's.
        optimiser: of the parameters of `module`.
        own: name of a parameter of which each worker has other rows. Neither its values nor its gradients are shared.
    """
    parameter = None if own is None else module.get_parameter(own)
    learns = parameter is not None and parameter.requires_grad
    if parameter is not None:
        parameter.requires_grad_(False)  # gradients are averaged of what learns at this moment
    model, wrapped = fabric.setup(module, optimiser)
    if parameter is not None:
        parameter.requires_grad_(learns)
    if fabric.world_size > 1:
        _share_start(module, own)
    return model, wrapped


def trained_tensors(module: nn.Module, optimiser: Optimizer) -> Iterator[Tensor]:
    """Yield what every step may change: parameters and buffers, and what the optimiser keeps of its steps."""
    yield from (*module.parameters(), *module.buffers())
    for kept in optimiser.state.values():
        yield from (value for value in kept.values() if isinstance(value, Tensor))


@torch.no_grad()
def _share_start(module: nn.Module, own: str | None) -> None:
    """Give every worker the main worker's parameters and buffers, but for the parameter `own`."""
    tensors: list[tuple[str, Tensor]] = [*module.named_parameters(), *module.named_buffers()]
    for name, tensor in tensors:
        if name != own and tensor.numel():
            dist.broadcast(tensor.detach(), src=0)
