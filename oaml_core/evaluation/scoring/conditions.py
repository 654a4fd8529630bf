"""Conditions under which pairs are scored: clean, or with an occluder drawn on the second image or on both.

What is drawn on an image depends on the kind of occluder, the pair and the side alone, never on batch size, rank, run
or `config.seed`: every model ever evaluated on a set meets the same pictures. The artwork is the test split, which
training never draws, and cut-outs are those that training never sees; blocks of a growing share keep their places.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import Sides
from oaml_core.config.occluders import CUTOUT, mistake_in, needs_cutouts, occluder_names, parts_of
from oaml_core.errors import EvaluationError, nearest
from oaml_core.evaluation.scoring.blocks import draw_blocks
from oaml_core.evaluation.statistics.seed import SEED

BOTH = "-both"
"""Ends the names of conditions that cover both images."""

Side = Literal[0, 1]
"""First or second image of a pair."""


@dataclass(frozen=True)
class Condition:
    """One way to show the images of each pair."""

    name: str
    """`clean`, the occluder's name, or `blocks-30` for 30 % of the image; with `-both` if both images are covered."""
    occluder: str | None = None
    """What is laid on, as `draw_occluder` names it; None: nothing, or blocks of `block_share`."""
    block_share: float | None = None
    """Share of the image that blocks cover, in (0, 1)."""
    both: bool = False
    """Cover the first image too, by another drawing of the same kind."""
    folder: Path | None = None
    """Folder of cut-outs, if the occluder has any."""
    split: Literal["train", "test"] = "test"
    """Whose artwork is drawn: `train` where a choice is made by it, so that what is reported stays unseen."""

    def covers(self, side: Side) -> bool:
        """Return True if anything is drawn on this image of a pair."""
        return (self.occluder is not None or self.block_share is not None) and (side == 1 or self.both)

    def apply(
        self, images: Tensor, pairs: NDArray[np.int64], landmarks: NDArray[np.float32] | None, side: Side = 1
    ) -> tuple[Tensor, Tensor]:
        """Return images under this condition and their true visibility.

        Args:
            images: uint8 [n, 3, H, W], the first or second images of the pairs.
            pairs: [n], their pair numbers.
            landmarks: [2N, 5, 2] of the whole set in pixels; None, and NaN for an image: the standard template.
            side: which image of the pairs they are.

        Returns:
            Images uint8 [n, 3, H, W] and masks float [n, 1, H, W], 1 = visible.
        """
        if not self.covers(side):
            return images, torch.ones(len(images), 1, *images.shape[-2:])
        drawn = [self._draw(image, landmarks, int(pair), side) for image, pair in zip(images, pairs, strict=True)]
        return torch.stack([image for image, _ in drawn]), torch.stack([mask for _, mask in drawn])

    def _draw(
        self, image: Tensor, landmarks: NDArray[np.float32] | None, pair: int, side: Side
    ) -> tuple[Tensor, Tensor]:
        if self.block_share is not None:
            return draw_blocks(image, self.block_share, np.random.default_rng(_entropy("blocks", pair, side)))
        assert self.occluder is not None
        points = _landmarks_of(landmarks, 2 * pair + side)
        return draw_test_occluder(image, points, self.occluder, pair, side, self.folder, self.split)


CLEAN = Condition("clean")


def conditions_of(
    occluders: Sequence[str],
    block_shares: Sequence[float] = (),
    sides: Sequence[Sides] = ("second",),
    folder: Path | None = None,
) -> list[Condition]:
    """Return `clean` and one condition per occluder and share of blocks, for each choice of covered images.

    Args:
        occluders: names as in `draw_occluder`.
        block_shares: shares of the image, in (0, 1), that blocks cover.
        sides: which images of a pair are covered.
        folder: of cut-outs; held-out files of it are laid on.

    Raises:
        DataError: an occluder names a cut-out, and the folder holds out none of that kind.
    """
    _check_held_out(occluders, folder)
    single = [Condition(name, name, folder=folder if needs_cutouts(name) else None) for name in occluders]
    single += [Condition(f"blocks-{100 * share:g}", block_share=share) for share in block_shares]
    doubled = [replace(condition, name=condition.name + BOTH, both=True) for condition in single]
    return [CLEAN, *(single if "second" in sides else []), *(doubled if "both" in sides else [])]


def cutouts_digest(occluders: Sequence[str], folder: Path | None) -> str:
    """Return the digest of the cut-outs that conditions lay on, hexadecimal; empty where they lay on none.

    Args:
        occluders: as of `conditions_of`.
        folder: of cut-outs.

    Raises:
        DataError: a file cannot be read.
    """
    kinds = _kinds_of_cutouts(occluders)
    if folder is None or not kinds:
        return ""
    from oaml_core.data.augment.cutouts import digest_of_kinds

    return digest_of_kinds(folder, kinds)


def _kinds_of_cutouts(occluders: Sequence[str]) -> list[str]:
    return [part.removeprefix(CUTOUT) for name in occluders for part in parts_of(name) if part.startswith(CUTOUT)]


def _check_held_out(occluders: Sequence[str], folder: Path | None) -> None:
    kinds = _kinds_of_cutouts(occluders)
    if folder is not None and kinds:
        from oaml_core.data.augment.cutouts import open_cutouts

        for kind in kinds:
            open_cutouts(folder).of(kind, "test")


def condition_named(name: str, folder: Path | None = None) -> Condition:
    """Return the condition of that name.

    Args:
        name: of a condition that `conditions_of` makes.
        folder: of cut-outs, where the condition needs any.

    Raises:
        EvaluationError: there is no such condition.
    """
    if name == CLEAN.name:
        return CLEAN
    kind, both = name.removesuffix(BOTH), name.endswith(BOTH)
    if mistake_in(kind) is None:
        return Condition(name, kind, both=both, folder=folder if needs_cutouts(kind) else None)
    share = kind.removeprefix("blocks-")
    if share != kind and share.replace(".", "", 1).isdigit():
        return Condition(name, block_share=float(share) / 100, both=both)
    raise EvaluationError(f"{name!r} is no condition.{nearest(name, [CLEAN.name, *occluder_names()])}")


def draw_test_occluder(
    image: Tensor,
    landmarks: Tensor | None,
    occluder: str,
    pair: int,
    side: Side = 1,
    folder: Path | None = None,
    split: Literal["train", "test"] = "test",
) -> tuple[Tensor, Tensor]:
    """Return the occluder of the split that belongs to this image of this pair; see `draw_occluder`."""
    from oaml_core.data.augment.cutouts import open_cutouts
    from oaml_core.data.augment.occlusion import draw_occluder

    seed = np.random.SeedSequence(_entropy(occluder, pair, side)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(seed >> 1))
    cutouts = None if folder is None else open_cutouts(folder)
    return draw_occluder(image, landmarks, occluder, generator, split=split, cutouts=cutouts, natural=True)


def _entropy(kind: str, pair: int, side: Side) -> list[int]:
    # The second image has the numbers that it had before first images could be covered.
    return [SEED, zlib.crc32(kind.encode()), pair, *([] if side == 1 else [1])]


def _landmarks_of(landmarks: NDArray[np.float32] | None, row: int) -> Tensor | None:
    """[5, 2] of one image; None if they are not known."""
    if landmarks is None or np.isnan(landmarks[row]).any():
        return None
    return torch.from_numpy(np.array(landmarks[row]))
