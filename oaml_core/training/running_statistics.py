"""Running statistics of batch normalisation and of AdaFace: averaged over the workers, or put back as they were."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from oaml_core.models.class_embeddings import ClassEmbeddings
from oaml_core.models.global_batch import is_distributed


def running_statistics(module: nn.Module) -> list[Tensor]:
    """Floating-point buffers of `module`, without class embeddings, which are gigabytes and the same on all workers."""
    return [
        buffer
        for part in module.modules()
        if not isinstance(part, ClassEmbeddings)
        for buffer in part.buffers(recurse=False)
        if buffer.is_floating_point()
    ]


@torch.no_grad()
def average_statistics(module: nn.Module) -> None:
    """Give every worker the mean of the workers' running statistics: each follows its own slices until then."""
    if not is_distributed():
        return
    buffers = running_statistics(module)
    flat = torch.cat([buffer.double().reshape(-1) for buffer in buffers])
    dist.all_reduce(flat)
    _write(flat / dist.get_world_size(), buffers)


class KeptStatistics:
    """The running statistics of `module` before a step: one NaN in a forward pass would stay in them for good.

    Args:
        module: on the device, and in the memory layout, in which it trains.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = running_statistics(module)
        self.keep()

    def keep(self) -> None:
        """Remember them as they are."""
        self._kept = torch.cat([buffer.reshape(-1) for buffer in self._buffers])

    def put_back(self, left_out: Tensor) -> None:
        """Make them what they were at the last `keep` where `left_out` [] is not 0; the host does not learn of it."""
        now = torch.cat([buffer.reshape(-1) for buffer in self._buffers])
        _write(torch.where(left_out == 0, now, self._kept), self._buffers)


def _write(flat: Tensor, buffers: list[Tensor]) -> None:
    for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
