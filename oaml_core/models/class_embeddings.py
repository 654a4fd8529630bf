"""A feature map for every training identity, and which identities a sample is classified among.

The published class memory of QAConv keeps the feature map of each class's newest image and scores every sample with
all C classes, without gradient to the memory. Here a sample meets its own class and the k − 1 nearest others, which is
what makes hundreds of thousands of classes affordable, and a place of a class's map is replaced in proportion to the
visibility of the new one, so that maps become those of uncovered faces.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.amounts import amount
from oaml_core.errors import ConfigError, ModelInputError
from oaml_core.host_range import host_range

GIB = 2**30


class Candidates(NamedTuple):
    """The classes that P samples are classified among."""

    maps: Tensor
    """float32 [U, C, h, w], the classes that any of the samples meets: each once on a CPU, on a GPU once per sample."""
    columns: Tensor
    """int64 [P, k], rows of `maps`; the first is the sample's own class."""
    known: Tensor
    """bool [P, k], False where no image of the class has been seen yet."""


class ClassEmbeddings(nn.Module):
    """Unit feature maps of all classes in half precision, and each class's nearest others.

    All of it is state that is saved with the model; it is the same on every worker as long as `update` is given the
    same global batch everywhere. It takes num_classes · C · h · w · 2 bytes on every worker: 0.5 GiB for 10,572
    classes of 512 × 7 × 7, 4.0 GiB for 85,742.

    Args:
        num_classes: training identities.
        channels, map_size: C and (h, w) of the maps.
        k_nearest: candidates of a sample, its own class among them; fewer where there are fewer classes.
        limit: bytes that the maps may take.

    Raises:
        ConfigError: they would take more.
    """

    maps: Tensor
    seen: Tensor
    nearest: Tensor

    def __init__(
        self, num_classes: int, channels: int, map_size: tuple[int, int], *, k_nearest: int, limit: int
    ) -> None:
        super().__init__()
        self.num_classes, self.channels, self.map_size = num_classes, channels, map_size
        height, width = map_size
        needed = 2 * num_classes * channels * height * width
        if needed > limit:
            raise ConfigError(
                f"Class embeddings of {num_classes:,} identities, {channels} × {height} × {width} in half precision, "
                f"take {needed / GIB:.1f} GiB on every worker, more than loss.class_embeddings_gib {limit / GIB:g}. "
                "Raise it if the device has the room, or train without them: loss.softmax_triplet_loss_weight 0."
            )
        self.register_buffer("maps", torch.zeros(num_classes, channels, height * width, dtype=torch.float16))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        others = min(k_nearest, num_classes) - 1
        self.register_buffer("nearest", torch.zeros(num_classes, others, dtype=torch.int32))

    def candidates(self, labels: Tensor) -> Candidates:
        """Return the own class and the nearest others of each sample; `labels` is int64 [P].

        Raises:
            ModelInputError: a label is no class.
        """
        self._check(labels)
        classes = torch.cat([labels[:, None], self.nearest[labels].long()], 1)
        met, columns = each_once(classes) if classes.device.type == "cpu" else one_after_the_other(classes)
        maps = self.maps[met].float().unflatten(2, self.map_size)
        return Candidates(maps, columns, self.seen[classes])

    @torch.no_grad()
    def update(self, labels: Tensor, maps: Tensor, visibility: Tensor) -> None:
        """Let the classes of a global batch look like its images; of several images of a class the last one counts.

        Args:
            labels: int64 [B].
            maps: [B, C, h, w]; images whose map is not finite are passed over.
            visibility: [B, 1, h, w] in [0, 1], the share of a place that is replaced.

        Raises:
            ModelInputError: a label is no class, or maps have another shape.
        """
        self._check(labels)
        if maps.shape[1:] != (self.channels, *self.map_size) or len(maps) != len(labels):
            raise ModelInputError(
                f"Class embeddings take maps [{len(labels)}, {self.channels}, {self.map_size[0]}, {self.map_size[1]}], "
                f"not {list(maps.shape)}."
            )
        usable = maps.flatten(1).isfinite().all(1) & visibility.flatten(1).isfinite().all(1)
        number = torch.where(usable, torch.arange(len(labels), device=labels.device), -1)
        last = number.new_full((self.num_classes,), -1).scatter_reduce_(0, labels, number, "amax")
        # All images of a class write the same, what its last usable image makes of it: no image is picked out, for
        # then the host would have to know how many.
        chosen = last[labels]
        known, before = chosen >= 0, self.maps[labels].float()
        chosen = chosen.clamp_min(0)
        new = functional.normalize(maps[chosen].flatten(2).float(), dim=1)
        # A class that is seen for the first time is taken as it is: nothing else is known of its places.
        share = torch.where(self.seen[labels, None, None], visibility[chosen].flatten(2).float(), 1.0)
        after = torch.where(known[:, None, None], torch.lerp(before, new, share), before)
        self.maps[labels] = after.half()
        self.seen[labels] = self.seen[labels] | known

    def _check(self, labels: Tensor) -> None:
        if labels.dtype != torch.int64 or labels.ndim != 1:
            raise ModelInputError(f"Labels are int64 [B], not {labels.dtype} {list(labels.shape)}.")
        if labels.device != self.maps.device:
            raise ModelInputError(f"Labels are on {labels.device}, class embeddings on {self.maps.device}.")
        found = host_range(labels)
        if found is not None and not (found[0] >= 0 and found[1] < self.num_classes):
            raise ModelInputError(
                f"Labels lie in [{found[0]}, {found[1]}]; there are "
                f"{amount(self.num_classes, 'class', 'classes')}, numbered from 0."
            )


def each_once(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the U classes in `classes` [P, k], on the CPU, in order, and where each of [P, k] stands among them."""
    met, columns = np.unique(classes.numpy(), return_inverse=True)
    return torch.from_numpy(met), torch.from_numpy(columns.reshape(classes.shape))


def one_after_the_other(classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same with a class as often as it is met: how many there are would have to be asked of the device."""
    return classes.flatten(), torch.arange(classes.numel(), device=classes.device).view_as(classes)
