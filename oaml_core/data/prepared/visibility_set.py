"""Prepared pairs of a face and its visibility mask."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.data.prepared.dataset import PartFiles, open_array
from oaml_core.decoding.decode import Image8, decode_image, decode_mask, fit_square

if TYPE_CHECKING:
    from torch import Tensor

VALIDATION_SHARE = 0.1
"""Share of the pairs that is held out; a pair's name decides, so that it stays on its side when pairs are added."""
INDEX = ("parts", "offsets", "sizes", "validation")


def is_validation(name: str) -> bool:
    """Return True if a pair is held out, which a hash of its name decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < VALIDATION_SHARE * 2**64


def fit_mask(mask: Image8, size: int) -> NDArray[np.float32]:
    """Return uint8 [h, w] to float32 [size, size] in [0, 1], averaged over area."""
    if mask.shape != (size, size):
        resized = Image.fromarray(mask.astype(np.float32)).resize((size, size), Image.Resampling.BOX)
        return np.asarray(resized, dtype=np.float32) / np.float32(255)
    return mask.astype(np.float32) / np.float32(255)


class VisibilityDataset:
    """Faces with their visibility, prepared. Pickles as its path.

    Args:
        folder: `visibility/` of a prepared data set.
        image_size, channel_order: as for `FaceDataset`.
    """

    def __init__(self, folder: Path, image_size: int = 112, channel_order: Literal["rgb", "bgr"] = "rgb") -> None:
        self.folder = folder
        self.image_size = image_size
        self.channel_order = channel_order
        self._parts, self._offsets, self._sizes, validation = (open_array(folder / f"{name}.npy") for name in INDEX)
        self.validation: NDArray[np.bool_] = validation
        """bool [N]: held-out pairs; never trained on."""
        self._files = PartFiles(folder)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Face uint8 [3, H, W] RGB and visibility float32 [1, H, W] in [0, 1], 1 = visible; raises DataError."""
        import torch

        face, mask = (
            self._files.image(*(int(array[index, which]) for array in (self._parts, self._offsets, self._sizes)))
            for which in (0, 1)
        )
        image = fit_square(decode_image(face, self.channel_order), self.image_size)
        visible = fit_mask(decode_mask(mask), self.image_size)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(visible)[None]

    def indices(self, part: Literal["train", "validation"]) -> NDArray[np.int64]:
        """Return numbers of the pairs of one side of the split."""
        return np.flatnonzero(self.validation == (part == "validation"))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.read(index)

    def __len__(self) -> int:
        return len(self.validation)

    def __reduce__(self) -> tuple[Any, ...]:
        return VisibilityDataset, (self.folder, self.image_size, self.channel_order)
