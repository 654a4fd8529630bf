"""A folder of faces with visibility masks as a dataset of its own, for training loops of one's own.

    faces = NiqabMaskDataset("niqab/train")
    image, mask, index = faces[0]  # float32 [3, 112, 112] in [-1, 1], float32 [1, 7, 7] in [0, 1], 1 = visible

OAML's own training reads the same folder as `data.visibility_source`, beside the identities.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from oaml_core.amounts import amount
from oaml_core.data.prepared.visibility_set import fit_mask
from oaml_core.decoding.decode import decode_image, decode_mask
from oaml_core.decoding.files import read_image_bytes
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.folder_entries import no_folder, regular_files

SIDE = 112
"""Pixels of an image's side where no transform is given."""

Item = tuple[Tensor, Tensor, int]


def to_face(image: Image.Image) -> Tensor:
    """Return an image at 112 × 112 pixels as float32 [3, 112, 112] in [-1, 1]."""
    pixels = np.array(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1) / 127.5 - 1


class NiqabMaskDataset(Dataset[Item]):
    """Faces with masks of what is visible: `kept_faces/<name>.jpg` and `masks/<name>_mask.png`, 255 = visible.

    Args:
        root_dir: holds both folders.
        image_transform: from a PIL image, RGB and upright, to a tensor; None: `to_face`.
        mask_target_size: side of the masks, that of the feature map.
        image_subdir: folder of the faces.
        mask_subdir: folder of the masks.
        mask_suffix: what a mask's name has beyond its face's.

    Raises:
        DataError: no face has a mask.
    """

    def __init__(
        self,
        root_dir: str | Path,
        image_transform: Callable[[Image.Image], Tensor] | None = None,
        mask_target_size: int = 7,
        image_subdir: str = "kept_faces",
        mask_subdir: str = "masks",
        mask_suffix: str = "_mask",
    ) -> None:
        root = Path(root_dir)
        faces, masks = (_by_name(root / each) for each in (image_subdir, mask_subdir))
        self.pairs = [(faces[name], masks[name + mask_suffix]) for name in sorted(faces) if name + mask_suffix in masks]
        """Paths of each face and its mask, by name."""
        if not self.pairs:
            raise DataError(
                f"{root} has no face with a mask: {amount(len(faces), 'face')} in {image_subdir}, "
                f"{amount(len(masks), 'mask')} in "
                f"{mask_subdir}; a mask is called as its face, with {mask_suffix!r} before the ending."
            )
        self.image_transform = to_face if image_transform is None else image_transform
        self.mask_target_size = mask_target_size

    def __getitem__(self, index: int) -> Item:
        """Return the image, its mask float32 [1, S, S] in [0, 1] with 1 = visible, and `index`.

        Raises:
            DataError: a file is damaged.
        """
        face, mask = self.pairs[index]
        try:
            pixels, visible = decode_image(read_image_bytes(face)), decode_mask(read_image_bytes(mask))
        except DataError as error:
            raise DataError(f"{face} or its mask {mask.name} is unusable: {error}.") from None
        image = self.image_transform(Image.fromarray(pixels))
        return image, torch.from_numpy(fit_mask(visible, self.mask_target_size))[None], index

    def __len__(self) -> int:
        return len(self.pairs)


class NiqabMaskDataModule:
    """Loaders over such a folder, with a share held out for validation; a fixed seed decides which faces.

    Args:
        root_dir: as for `NiqabMaskDataset`.
        batch_size: faces per batch.
        val_split: share that is held out, in (0, 1).
        mask_target_size: side of the masks.
        num_workers: processes that read.
        seed: of the split and of the order.
    """

    def __init__(
        self,
        root_dir: str | Path,
        batch_size: int = 32,
        val_split: float = 0.1,
        mask_target_size: int = 7,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        if not 0 < val_split < 1:
            raise DataError(f"val_split is {val_split}; it is a share in (0, 1).")
        self.root_dir, self.batch_size, self.val_split = root_dir, batch_size, val_split
        self.mask_target_size, self.num_workers, self.seed = mask_target_size, num_workers, seed

    def setup(self, stage: str | None = None) -> None:
        """Find the pairs and split them; `stage` is that of Lightning, and changes nothing.

        Raises:
            DataError: there are fewer than two pairs.
        """
        whole = NiqabMaskDataset(self.root_dir, mask_target_size=self.mask_target_size)
        if len(whole) < 2:
            raise DataError(f"{self.root_dir} has {len(whole)} face with a mask; a split needs two.")
        order: NDArray[np.int64] = np.random.default_rng(self.seed).permutation(len(whole))
        held_out = min(len(whole) - 1, max(1, round(self.val_split * len(whole))))
        self.train_dataset = Subset(whole, sorted(order[held_out:].tolist()))
        self.val_dataset = Subset(whole, sorted(order[:held_out].tolist()))

    def train_dataloader(self) -> DataLoader[Item]:
        """Return shuffled batches of what is trained on."""
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(
            self.train_dataset, self.batch_size, shuffle=True, num_workers=self.num_workers, generator=generator
        )

    def val_dataloader(self) -> DataLoader[Item]:
        """Return batches of what is held out, in order."""
        return DataLoader(self.val_dataset, self.batch_size, num_workers=self.num_workers)


def _by_name(folder: Path) -> dict[str, Path]:
    """Return images below a folder by their path without the ending."""
    if not folder.is_dir():
        raise DataError(f"Faces and masks: {no_folder(folder)}.")
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in regular_files(folder, IMAGE_SUFFIXES)}
