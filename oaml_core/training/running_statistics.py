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


class KeptStatistics:
    """The running statistics of `module` before a step: one NaN in a forward pass would stay in them for good.

    Each worker follows its own slices within a step; after it all have the mean. So the statistics do not depend, not
    even in their last bit, on the steps at which checkpoints were written or a run was resumed.

    Args:
        module: on the device, and in the memory layout, in which it trains.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = running_statistics(module)
        self.keep()

    def keep(self) -> None:
        """Remember them as they are."""
        self._kept = torch.cat([buffer.reshape(-1) for buffer in self._buffers])

    @torch.no_grad()
    def settle(self, left_out: Tensor) -> None:
        """Give every worker the mean of the workers' statistics, or where `left_out` [] is not 0 those of the last
        `keep`; the host does not learn of it.
        """
        now = torch.cat([buffer.reshape(-1) for buffer in self._buffers])
        settled = torch.where(left_out == 0, now, self._kept)
        if is_distributed():
            total = settled.double()
            dist.all_reduce(total)
            settled = total / dist.get_world_size()
        for buffer, values in zip(self._buffers, settled.split([part.numel() for part in self._buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))
