"""Faces as training sees them, augmented and occluded, and how they are stacked to batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from oaml_core.config import AugmentConfig, Config
from oaml_core.data.augment.cutouts import Cutouts, open_cutouts
from oaml_core.data.augment.transforms import TrainTransform
from oaml_core.data.batches.plan import SampleKey
from oaml_core.data.batches.visibility_plan import VisibilityKey
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.prepared import PreparedDataset
from oaml_core.data.prepared.visibility_set import VisibilityDataset
from oaml_core.visibility import resize_visibility

MAP_STRIDE = 16
"""Pixels of the image that one place of every backbone's feature map spans, along each axis."""
FINE_STRIDE = 4
"""Pixels that one place of the masks for a fine visibility map spans, which shrinks them to its own places."""


class VisibilityBatch(NamedTuple):
    """One worker's slice of a global visibility batch."""

    images: Tensor
    """uint8 [v, 3, H, W], RGB."""
    visibility: Tensor
    """float32 [v, 1, h, w] in [0, 1]: masks with the places of the feature map, or finer ones."""


class TrainingBatch(NamedTuple):
    """One worker's slice of a global batch."""

    images: Tensor
    """uint8 [b, 3, H, W], RGB."""
    visibility: Tensor
    """float32 [b, 1, h, w] in [0, 1]: the drawn occluders with the places of the feature map, or finer ones."""
    labels: Tensor
    """int64 [b]."""
    samples: Tensor
    """int64 [b]: numbers of the images in the data set."""
    occluded: VisibilityBatch | None = None
    """Faces and masks that the visibility map is learnt from; None: from this batch's own drawn occluders."""
    clean: Tensor | None = None
    """uint8 [b, 3, H, W]: the same faces without drawn occluders, where a loss term compares with them."""
    mirrored: Tensor | None = None
    """int64 [b], 1 for faces that are mirrored: in place of `clean` where their targets are known."""


class TrainingFaces(Dataset[Any]):
    """Images as training sees them: augmented and occluded, each as its key says.

    Args:
        faces: training images.
        augment: what is done to them.
        pairs: faces with masks, where visibility keys name any.
        with_clean: give each face without drawn occluders too.
        targets_known: give whether it is mirrored instead.
        cutouts: the user's cut-outs; None: there are none.
    """

    def __init__(
        self,
        faces: FaceDataset,
        augment: AugmentConfig,
        pairs: VisibilityDataset | None = None,
        *,
        with_clean: bool = False,
        targets_known: bool = False,
        cutouts: Cutouts | None = None,
    ) -> None:
        self.with_clean, self.targets_known = with_clean, targets_known
        self.faces = faces
        self.pairs = pairs
        self.transform = TrainTransform(augment, faces.image_size, cutouts)
        clean = replace(augment, mask_prob=0.0, random_occlusion_prob=0.0, erasing_prob=0.0)
        self._covered = TrainTransform(replace(clean, mask_prob=1.0), faces.image_size, cutouts)
        self._uncovered = TrainTransform(clean, faces.image_size)

    def read(self, key: SampleKey | VisibilityKey) -> tuple[Tensor, Tensor | None]:
        """Return the image uint8 [3, H, W] as it is, and its mask float32 [1, H, W] where it has one of its own."""
        if self.pairs is not None and isinstance(key, VisibilityKey) and key.kind == "paired":
            return self.pairs.read(key.image)
        return self.faces.read(key.image), None

    def __getitems__(self, keys: Sequence[SampleKey | VisibilityKey]) -> list[tuple[Any, ...]]:
        """Return the items of a batch; images that are not on this node are asked for at once."""
        paired = self.pairs is not None
        self.faces.hold(
            key.image for key in keys if not (paired and isinstance(key, VisibilityKey) and key.kind == "paired")
        )
        return [self[key] for key in keys]

    def __getitem__(self, key: SampleKey | VisibilityKey) -> tuple[Any, ...]:
        """Return image uint8 [3, H, W], visibility float32 [1, H, W], label and number; label -1 for visibility keys.

        With `with_clean` the uncovered image uint8 [3, H, W] comes fifth, or with `targets_known` True where it is
        mirrored.
        """
        image, mask = self.read(key)
        if isinstance(key, SampleKey):
            label = int(self.faces.labels[key.image])
            seen, visible, clean = self.transform.views(image, self.landmarks(key.image), key.seed)
            item = seen, visible, label, key.image
            if self.targets_known:
                return *item, not torch.equal(clean, image)
            return (*item, clean) if self.with_clean else item
        landmarks = self.landmarks(key.image) if mask is None else None
        transform = self._covered if key.kind == "drawn" else self._uncovered
        seen, visible, clean = transform.views(image, landmarks, key.seed, mask)
        item = seen, visible, -1, key.image
        if self.targets_known:
            return *item, False
        return (*item, clean) if self.with_clean else item

    def landmarks(self, image: int) -> NDArray[np.float32] | None:
        """Return landmarks [5, 2] of image number `image` in pixels, or None if they are not known."""
        points = None if self.faces.landmarks is None else self.faces.landmarks[image]
        return None if points is None or np.isnan(points).any() else points

    def __len__(self) -> int:
        return len(self.faces)


def training_faces(config: Config, dataset: PreparedDataset) -> TrainingFaces:
    """Return the images of a data set as training sees them."""
    folder = config.data.occluders
    return TrainingFaces(
        dataset.train,
        config.augment,
        dataset.visibility,
        with_clean=config.loss.distils,
        targets_known=config.loss.distils and config.loss.targets_known,
        cutouts=None if folder is None else open_cutouts(Path(folder)),
    )


def collate(items: list[tuple[Any, ...]], stride: int = MAP_STRIDE) -> TrainingBatch:
    """Stack items, those with the label -1 apart, which come last.

    Masks shrink here to a place for each `stride` pixels, so that they travel between processes small.
    """
    images, masks, labels, samples, *clean = zip(*items, strict=True)
    stacked = torch.stack(images)
    grid = (stacked.shape[2] // stride, stacked.shape[3] // stride)
    visibility = resize_visibility(torch.stack(masks), grid)
    count = sum(label >= 0 for label in labels)
    known = bool(clean) and isinstance(clean[0][0], bool)
    return TrainingBatch(
        stacked[:count],
        visibility[:count],
        torch.tensor(labels[:count]),
        torch.tensor(samples[:count]),
        VisibilityBatch(stacked[count:], visibility[count:]) if count < len(labels) else None,
        torch.stack(clean[0][:count]) if clean and not known else None,
        torch.tensor(clean[0][:count], dtype=torch.int64) if known else None,
    )
