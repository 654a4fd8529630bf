"""Face images as clean tiles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.data.prepared.dataset import FaceDataset


class FaceTiles:
    """The training faces of a prepared data set, whole."""

    domains: tuple[str, ...] = ()

    def __init__(self, faces: FaceDataset) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def read(self, index: int) -> Tensor:
        """Return float32 [3, H, W] in [-1, 1]."""
        return to_tile(self.faces.read(index))

    def hold(self, indices: Iterable[int]) -> None:
        """Read faces at once that will be asked for one by one, where they are not here; raises StoreError where the
        store stays away.
        """
        self.faces.hold(indices)

    def label(self, index: int) -> Tensor:
        """Return an empty label [0], because faces have no domains."""
        return torch.zeros(0)


def to_tile(image: Tensor) -> Tensor:
    """Return uint8 RGB → float32 in [-1, 1]."""
    return image.float() / 127.5 - 1


def to_bytes(tiles: Tensor) -> Tensor:
    """Convert tiles in [-1, 1] to uint8 of the same shape, clipped."""
    return ((tiles.clamp(-1, 1) + 1) * 127.5).round().byte()


def to_image(tile: Tensor) -> NDArray[np.uint8]:
    """Convert a tile [3, H, W] in [-1, 1] to an image uint8 [H, W, 3], clipped."""
    return to_bytes(tile).permute(1, 2, 0).cpu().numpy()
