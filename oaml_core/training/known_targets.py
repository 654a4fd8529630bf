"""What distillation aims at, computed once: the frozen backbone's embeddings of all training faces as they are."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from oaml_core.progress import progress
from oaml_core.training.world import World

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from oaml_core.data.prepared.dataset import FaceDataset
    from oaml_core.models.recogniser import Recogniser

log = logging.getLogger(__name__)

BLOCK = 64
"""Faces at once. Blocks start at the same faces whoever computes them, so that a run which was resumed on other
workers has the same targets to the last bit."""


class KnownTargets(NamedTuple):
    """Embeddings that distillation aims at, for every training face."""

    embeddings: Tensor
    """[2, N, E] at unit length, on the device: of the N faces, and of their mirror images."""
    labels: Tensor
    """int64 [N], on the device: their identities."""


@torch.no_grad()
def known_targets(
    faces: FaceDataset, recogniser: Recogniser, fabric: Fabric, world: World, *, fused: bool = False
) -> KnownTargets:
    """Describe all faces and their mirror images. The workers share the blocks and then exchange them.

    Args:
        faces: training images.
        recogniser: its backbone is frozen.
        fabric: device and exchange.
        world: this worker among all of them.
        fused: a face and its mirror image have one target, the sum of their embeddings at unit length.
    """
    found = torch.zeros(2, len(faces), recogniser.backbone.embedding_size, device=fabric.device)
    starts = range(BLOCK * world.rank, len(faces), BLOCK * world.size)
    for start in progress(starts, len(starts), "blocks of distillation targets"):
        images = faces.read_batch(range(start, min(start + BLOCK, len(faces)))).to(fabric.device)
        for mirrored, view in enumerate((images, images.flip(3))):
            # In float32 whatever the precision of the steps: rounded targets would be learnt as they are.
            found[mirrored, start : start + len(images)] = recogniser.describe_globally(view)
    if world.size > 1:
        # Every row is another worker's or zero: the sum is exact.
        summed = fabric.all_reduce(found, reduce_op="sum")
        assert isinstance(summed, Tensor)
        found = summed
    log.info("distillation: %d targets are known, %.1f MB", 2 * len(faces), found.nbytes / 1e6)
    if fused:
        found = normalize(found.sum(0), dim=1).expand(2, -1, -1)
    return KnownTargets(found, torch.from_numpy(np.array(faces.labels)).to(fabric.device))
