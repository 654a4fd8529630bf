"""Transforms that cover part of a face and say so in its mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oaml_core.config.occluders import CUTOUT, WITH, parts_of
from oaml_core.data.augment.cutouts import Cutouts
from oaml_core.data.augment.occluder_artwork import Split
from oaml_core.data.augment.occlusion import (
    BLOCK_SIDE,
    BLOCKS,
    aligned_landmarks,
    cover_by_blocks,
    draw_occluder,
    lay_mask_picture,
)
from oaml_core.data.augment.pair_transform import PairTransform
from oaml_core.data.augment.placing import WORN, Draws
from oaml_core.errors import DataError


class FaceOcclusion(PairTransform):
    """Lay one of several occluders on the face, where its landmarks say or where aligned faces have theirs.

    Args:
        kinds: what is laid on, each with the same probability: names as in `draw_occluder`; a path is a picture of the
            user's own with transparency, laid on like the specification's medical mask.
        p, generator: see `PairTransform`.
        split: whose artwork and files are taken; `train` and `test` share none.
        cutouts: the user's cut-outs; None: there are none.
        cutout_share: share of the covered faces, in [0, 1], that wear a cut-out instead of one of `kinds`.
        combination_share: share of the covered faces, in [0, 1], that wear a second occluder on another part.
        shadow_prob: probability that an occluder throws a shadow on the face.
        dye_prob: probability that an occluder has other colours and prints than its picture.

    Raises:
        DataError: `kinds` names a cut-out that the folder has not.
    """

    def __init__(
        self,
        kinds: Sequence[str | Path],
        *,
        p: float = 0.5,
        generator: torch.Generator,
        split: Split = "train",
        cutouts: Cutouts | None = None,
        cutout_share: float = 0.0,
        combination_share: float = 0.0,
        shadow_prob: float = 0.0,
        dye_prob: float = 0.0,
    ) -> None:
        super().__init__(p, generator)
        self.kinds = tuple(kinds)
        self.split = split
        self.cutouts = cutouts
        self.combination_share, self.shadow_prob, self.dye_prob = combination_share, shadow_prob, dye_prob
        for part in (part for kind in self.kinds if isinstance(kind, str) for part in parts_of(kind)):
            if cutouts is not None and part.startswith(CUTOUT):
                cutouts.of(part.removeprefix(CUTOUT), split)
        self._cut_out = () if cutouts is None else tuple(CUTOUT + kind for kind in cutouts.kinds(split))
        self.cutout_share = (cutout_share if self.kinds else 1.0) if self._cut_out else 0.0

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        covered, visible = draw_occluder(
            image,
            landmarks,
            self._chosen(),
            self.generator,
            self.split,
            cutouts=self.cutouts,
            natural=True,
            shadow_prob=self.shadow_prob,
            dye_prob=self.dye_prob,
        )
        return super().parameters_of(image, landmarks) | {"image": covered, "visible": visible}

    def on_image(self, image: Tensor, params: dict[str, Any]) -> Tensor:
        result: Tensor = params["image"]
        return result

    def on_mask(self, mask: Tensor, params: dict[str, Any]) -> Tensor:
        result: Tensor = mask * params["visible"]
        return result

    def _chosen(self) -> str | Path:
        """Return an occluder, at times with a second one that leaves the first in sight."""
        which, share, both, second, second_share = self.draw(5)
        first = self._one(which, share, frozenset())
        if first is None:
            raise DataError("FaceOcclusion has neither kinds nor cut-outs to lay on a face. Name some kinds.")
        if both >= self.combination_share or not isinstance(first, str) or WITH in first:
            return first
        added = self._one(second, second_share, _place_of(first))
        return first if added is None else f"{first}{WITH}{added}"

    def _one(self, which: float, share: float, taken: frozenset[str]) -> str | Path | None:
        """Return one of the kinds or cut-outs; where a place is taken, one that is named, single, and worn
        elsewhere.
        """
        pool: Sequence[str | Path] = self._cut_out if share < self.cutout_share else self.kinds
        if taken:
            pool = [kind for kind in pool if isinstance(kind, str) and _elsewhere(kind, taken)]
        return pool[int(which * len(pool))] if pool else None


EYES, LOWER, TOP, ANYWHERE = "eyes", "nose and mouth", "forehead", "anywhere"
PLACES: dict[str, frozenset[str]] = {
    **dict.fromkeys(("sunglasses", "eyeglasses", "eyes"), frozenset({EYES})),
    **dict.fromkeys(("surgical", "cloth", "ffp2", "mask", "scarf", "microphone"), frozenset({LOWER})),
    **dict.fromkeys(("hat", "hair"), frozenset({TOP})),
    **dict.fromkeys(("veil", "niqab"), frozenset({LOWER, TOP})),
    **dict.fromkeys(("hand", "phone", "blocks"), frozenset({ANYWHERE})),
}
"""Parts of the face that drawings and worn things take: two are worn together if they share none."""


def _place_of(name: str) -> frozenset[str]:
    """Parts of the face that a single occluder takes."""
    cut_out = name.removeprefix(CUTOUT)
    return PLACES.get(name if cut_out == name else WORN.get(cut_out, ""), frozenset({ANYWHERE}))


def _elsewhere(kind: str, taken: frozenset[str]) -> bool:
    return WITH not in kind and taken.isdisjoint(_place_of(kind))


class MedicalMaskOcclusion(FaceOcclusion):
    """A medical mask: surgical, of cloth, or FFP2, or the user's own `pictures` instead.

    Args:
        pictures: files with or without transparency, laid on as the specification does: 25 px above the nose.
        p, generator, split: see `FaceOcclusion`.
        ref_points: nose, left and right mouth corner in pixels of the image, by which pictures are placed; None: the
            face's landmarks, or those of the template.

    Raises:
        DataError: `ref_points` are not three points.

    Example:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> import oaml_core as oaml
        >>> face = tv_tensors.Image(torch.rand(3, 112, 112))
        >>> mask = oaml.MedicalMaskOcclusion(p=1.0, generator=torch.Generator().manual_seed(0))
        >>> image, visible = mask(face, tv_tensors.Mask(torch.ones(1, 112, 112)))
        >>> 0.1 < float(visible.mean()) < 0.9
        True
    """

    def __init__(
        self,
        pictures: Sequence[Path] = (),
        *,
        p: float = 0.5,
        generator: torch.Generator,
        split: Split = "train",
        ref_points: Sequence[tuple[float, float]] | None = None,
    ) -> None:
        super().__init__(tuple(pictures) or ("surgical", "cloth", "ffp2"), p=p, generator=generator, split=split)
        if ref_points is not None and [len(point) for point in ref_points] != [2, 2, 2]:
            raise DataError("ref_points are nose, left and right mouth corner: three pairs of x and y in pixels.")
        self.ref_points = ref_points

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        kind = self.kinds[int(self.draw(1)[0] * len(self.kinds))]
        if isinstance(kind, Path):
            covered, visible = lay_mask_picture(image, landmarks, kind, self.generator, self.ref_points)
        else:
            points = landmarks
            if self.ref_points is not None:
                height, width = image.shape[1:]
                given = aligned_landmarks(width, height) if landmarks is None else landmarks.numpy()
                points = torch.from_numpy(np.concatenate([given[:2], np.array(self.ref_points, np.float32)]))
            covered, visible = draw_occluder(
                image, points, kind, self.generator, self.split, natural=True, shadow_prob=self.shadow_prob
            )
        return {"size": (image.shape[1], image.shape[2]), "image": covered, "visible": visible}


class SyntheticOcclusion(FaceOcclusion):
    """Rectangles, width by height 0.7 to 1.4, each black or of a random colour. They end at whole pixels, so that the
    visible share of every place of the feature map is exact.

    Args:
        p, generator: see `PairTransform`.
        min_size, max_size: side of a rectangle, as shares of the image's shorter side.
        max_patches: most rectangles per image.

    Raises:
        DataError: sizes are not shares in rising order, or there are no patches.

    Example:
        >>> import torch
        >>> from torchvision import tv_tensors
        >>> import oaml_core as oaml
        >>> face = tv_tensors.Image(torch.rand(3, 112, 112))
        >>> blocks = oaml.SyntheticOcclusion(p=1.0, generator=torch.Generator().manual_seed(0))
        >>> image, visible = blocks(face, tv_tensors.Mask(torch.ones(1, 112, 112)))
        >>> 0.6 <= float(visible.mean()) <= 0.9
        True
    """

    def __init__(
        self,
        *,
        p: float = 0.5,
        generator: torch.Generator,
        min_size: float = BLOCK_SIDE[0],
        max_size: float = BLOCK_SIDE[1],
        max_patches: int = BLOCKS,
    ) -> None:
        if not 0 < min_size <= max_size <= 1 or max_patches < 1:
            raise DataError(
                f"Blocks need 0 < min_size <= max_size <= 1 and max_patches >= 1, not {min_size}, {max_size} and "
                f"{max_patches}."
            )
        super().__init__(("blocks",), p=p, generator=generator)
        self.sizes, self.max_patches = (min_size, max_size), max_patches

    def parameters_of(self, image: Tensor, landmarks: Tensor | None) -> dict[str, Any]:
        pixels = image.numpy().copy()
        visible = np.ones(pixels.shape[1:], np.float32)
        cover_by_blocks(pixels, visible, Draws(self.generator), self.sizes, self.max_patches)
        shown = torch.from_numpy(visible)[None]
        return {"size": (image.shape[1], image.shape[2]), "image": torch.from_numpy(pixels), "visible": shown}
