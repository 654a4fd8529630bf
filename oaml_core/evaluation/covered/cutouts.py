"""Cut-outs of real things (RGBA files, one folder per kind) worn by aligned faces, as training has them worn."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.data.augment.cutouts import open_cutouts
from oaml_core.data.augment.occlusion import lay_cutout
from oaml_core.errors import DataError

log = logging.getLogger(__name__)


def cutouts_in(folder: Path, *, held_out: bool = False) -> dict[str, tuple[Path, ...]]:
    """Return the files of cut-outs by kind.

    Args:
        folder: one sub-folder per kind.
        held_out: only pictures that training never lays on a face.

    Raises:
        DataError: there is no folder, no kind with files in it, a file is no cut-out, or none is held out.
    """
    cutouts = open_cutouts(folder)
    found: dict[str, tuple[Path, ...]] = {}
    for kind in cutouts.kinds():
        files = cutouts.files.get((kind, "test"), ()) if held_out else cutouts.every(kind)
        if files:
            found[kind] = files
        else:
            log.warning("%s is left out: none of its files is held out from training. Add files.", folder / kind)
    if not found:
        raise DataError(f"None of the cut-outs in {folder} is held out from training. Add files.")
    return found


def wear(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32] | None,
    kind: str,
    cutout: Path,
    generator: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Put a cut-out on a face, where the kind of thing is worn; see `lay_cutout`.

    Args:
        image: uint8 [H, W, 3].
        landmarks: [5, 2] in pixels; None or NaN: those of the template.
        kind: name of the cut-out's folder.
        cutout: RGBA file.
        generator: of size and place.

    Returns:
        The image, and its visibility [H, W] in [0, 1].

    Raises:
        DataError: the cut-out has no transparency.
    """
    points = landmarks if landmarks is not None and np.isfinite(landmarks).all() else None
    seeded = torch.Generator().manual_seed(int(generator.integers(2**62)))
    pixels = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    covered, visible = lay_cutout(pixels, points, kind, cutout, seeded, shadow_prob=0.0)
    return covered.permute(1, 2, 0).numpy(), visible[0].numpy()
