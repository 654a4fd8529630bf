"""Clean tiles as batches: cropped, mirrored, each as its sample key says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from oaml_core.data.batches.plan import SampleKey
from oaml_core.data.batches.samplers import ShuffleBatchSampler
from oaml_core.errors import DataError
from oaml_core.restoration.face_tiles import FaceTiles
from oaml_core.restoration.tiles import Tiles


class TileBatch(NamedTuple):
    """One worker's slice of a global batch."""

    tiles: Tensor
    """float32 [b, C, s, s] in [-1, 1]."""
    labels: Tensor
    """float32 [b, L]."""
    seeds: list[int]
    """Seed of each tile's noise."""

    @classmethod
    def collate(cls, items: list[tuple[Tensor, Tensor, int]]) -> TileBatch:
        """Stack items into a batch."""
        tiles, labels, seeds = zip(*items, strict=True)
        return cls(torch.stack(tiles), torch.stack(labels), list(seeds))

    def parts(self, size: int) -> list[TileBatch]:
        """Return the batch in parts of `size` tiles; 0: as one."""
        step = size or len(self.seeds)
        some = [slice(start, start + step) for start in range(0, len(self.seeds), step)]
        return [TileBatch(self.tiles[part], self.labels[part], self.seeds[part]) for part in some]


class TrainingTiles(Dataset[tuple[Tensor, Tensor, int]]):
    """Random crops of clean tiles, mirrored by chance.

    Args:
        tiles: whole tiles.
        size: side of the crops.
        xflip: mirror half of them.
    """

    def __init__(self, tiles: Tiles, size: int, *, xflip: bool) -> None:
        self.tiles, self.size, self.xflip = tiles, size, xflip

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[tuple[Tensor, Tensor, int]]:
        """Return the items of a batch; faces that are not on this node are asked for at once."""
        if isinstance(self.tiles, FaceTiles):
            self.tiles.hold(key.image for key in keys)
        return [self[key] for key in keys]

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Tensor, int]:
        generator = torch.Generator().manual_seed(key.seed)
        tile = self.tiles.read(key.image)
        height, width = tile.shape[1:]
        if min(height, width) < self.size:
            raise DataError(
                f"Tile {key.image} has {height} × {width} pixels, less than restoration.tile_size {self.size}."
            )
        top = int(torch.randint(height - self.size + 1, (), generator=generator))
        left = int(torch.randint(width - self.size + 1, (), generator=generator))
        crop = tile[:, top : top + self.size, left : left + self.size]
        if self.xflip and torch.rand((), generator=generator) < 0.5:
            crop = crop.flip(2)
        noise_seed = int(torch.randint(2**62, (), generator=generator))
        return crop.contiguous(), self.tiles.label(key.image), noise_seed


def tile_batches(count: int, batch: int, *, seed: int, rank: int, world_size: int) -> ShuffleBatchSampler:
    """Return this worker's sampler: slices of global batches of `batch` tiles, all `count` in a new order each
    epoch."""
    return ShuffleBatchSampler(np.zeros(count, dtype=np.int64), batch, seed=seed, rank=rank, world_size=world_size)
