"""PSNR and SSIM on held-out clean tiles while a prior trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.errors import DataError
from oaml_core.restoration.face_tiles import to_tile
from oaml_core.restoration.metrics import psnr, ssim
from oaml_core.restoration.prior import Prior
from oaml_core.restoration.tile_shards import TileShards
from oaml_core.restoration.tiles import one_hot

LEVELS = (0.05, 0.2, 0.5)
"""Noise levels that validation tiles are denoised from, in units of tiles (white − black = 2)."""
AT_A_TIME = 16
"""Validation tiles denoised together."""


@dataclass(frozen=True)
class ValidationTiles:
    """Centres of clean tiles that the prior does not learn from, and the same noise for them at every look."""

    tiles: Tensor
    """float32 [N, C, s, s] in [-1, 1]."""
    labels: Tensor
    """float32 [N, L]; L = 0 without labels."""

    @torch.no_grad()
    def metrics(self, prior: Prior) -> dict[str, float]:
        """Denoise every tile once at each level of `LEVELS`.

        Args:
            prior: in evaluation mode; its device is used.

        Returns:
            `validation_psnr_<level>` in dB and `validation_ssim_<level>`, means over the tiles, data range 2.
        """
        device = next(prior.parameters()).device
        found = {}
        for number, level in enumerate(LEVELS):
            noise = torch.randn(self.tiles.shape, generator=torch.Generator().manual_seed(number))
            parts = []
            for start in range(0, len(self.tiles), AT_A_TIME):
                some = slice(start, start + AT_A_TIME)
                noisy = (self.tiles[some] + level * noise[some]).to(device)
                labels = self.labels[some].to(device) if prior.label_dim else None
                parts.append(prior(noisy, noisy.new_full((len(noisy),), level), labels).float().cpu())
            denoised = torch.cat(parts)
            found[f"validation_psnr_{level}"] = float(psnr(denoised, self.tiles).mean())
            found[f"validation_ssim_{level}"] = float(ssim(denoised, self.tiles).mean())
        return found


def validation_shards(shards: TileShards, domains: tuple[str, ...], size: int, count: int) -> ValidationTiles | None:
    """Return at most `count` tiles of a split, evenly spread; None if none has a domain that the prior knows.

    Args:
        shards: the split `validation`.
        domains: labels of the prior; empty: without labels.
        size: side of the centres.
        count: largest number of tiles.
    """
    known = [i for i in range(len(shards)) if not domains or shards.domain(i) in domains]
    chosen = [known[i] for i in spread(len(known), count)]
    if not chosen:
        return None
    labels = torch.stack([one_hot(domains, shards.domain(i)) for i in chosen])
    return ValidationTiles(torch.stack([centre(shards.read(i), size) for i in chosen]), labels)


def validation_faces(prepared: PreparedDataset, size: int, count: int, tested: int) -> ValidationTiles | None:
    """Return at most `count` verification faces, none of them trained on; None where none is left.

    Args:
        prepared: the data set of faces.
        size: side of the centres.
        count: largest number of faces.
        tested: faces that evaluation takes, by `spread`; they are left to it.
    """
    images = next((pairs.images for pairs in prepared.verification.values()), None)
    if images is None:
        return None
    kept = set(spread(len(images), tested))
    others = [i for i in range(len(images)) if i not in kept]
    faces = [to_tile(torch.tensor(images[others[i]]).permute(2, 0, 1)) for i in spread(len(others), count)]
    if not faces:
        return None
    return ValidationTiles(torch.stack([centre(face, size) for face in faces]), torch.zeros(len(faces), 0))


def spread(total: int, count: int) -> list[int]:
    """Return `count` of `total` numbers, evenly spread; all if there are fewer."""
    taken = min(count, total)
    return [round(i * (total - 1) / max(1, taken - 1)) for i in range(taken)]


def centre(tile: Tensor, size: int) -> Tensor:
    """Return the middle [C, size, size] of a tile.

    Raises:
        DataError: the tile is smaller.
    """
    height, width = tile.shape[1:]
    if min(height, width) < size:
        raise DataError(f"A tile has {height} × {width} pixels, less than restoration.tile_size {size}.")
    top, left = (height - size) // 2, (width - size) // 2
    return tile[:, top : top + size, left : left + size].contiguous()
