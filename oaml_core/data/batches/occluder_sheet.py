"""A sheet of occluders on drawn faces, for people to look at before they train under them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from oaml_core.config.occluders import CUTOUT, WITH, drawn_occluders
from oaml_core.data.augment.cutouts import Cutouts
from oaml_core.data.augment.occluder_artwork import Split
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import DrawnFaces, draw_faces
from oaml_core.whole_file import written_whole

GAP, BESIDE = 2, 150
"""Pixels between pictures, and for the names on the left."""
TOGETHER = ("mask+sunglasses", "surgical+eyeglasses", "scarf+hat")
"""Combinations that are shown."""


def write_occluder_sheet(path: Path, cutouts: Cutouts | None = None, count: int = 6) -> list[str]:
    """Write a PNG: one row per occluder, on the left as training lays it on, on the right as tests do.

    Args:
        path: file; it appears when it is whole.
        cutouts: the user's cut-outs; None: drawings alone.
        count: faces per row and split.

    Returns:
        The names of the rows, as `augment.occluders` and `evaluate.occluders` take them.

    Raises:
        DataError: a cut-out cannot be laid on.
    """
    names = [*drawn_occluders(), *TOGETHER]
    if cutouts is not None:
        cut_out = [CUTOUT + kind for kind in cutouts.kinds()]
        names += cut_out + [f"{name}{WITH}sunglasses" for name in cut_out if name == f"{CUTOUT}mask"]
    random = np.random.default_rng(0)
    faces = draw_faces(draw_identities(count, random), np.arange(count), random)
    rows = [_row(faces, name, cutouts) for name in names]
    side = faces.images.shape[1]
    sheet = Image.fromarray(np.concatenate([_heading(rows[0].shape[1]), *rows]))
    labels = ImageDraw.Draw(sheet)
    labels.text((BESIDE, 4), "training", fill=0)
    labels.text((BESIDE + count * (side + GAP), 4), "held out for testing", fill=0)
    for number, name in enumerate(names):
        labels.text((4, 20 + number * (side + GAP) + side // 2), name, fill=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished:
        sheet.save(unfinished, format="PNG")
    return names


def _heading(width: int) -> NDArray[np.uint8]:
    return np.full((20, width, 3), 255, np.uint8)


def _row(faces: DrawnFaces, name: str, cutouts: Cutouts | None) -> NDArray[np.uint8]:
    side = faces.images.shape[1]
    tiles = [np.full((side + GAP, BESIDE, 3), 255, np.uint8)]
    for split in get_args(Split):
        tiles += [_tile(faces, number, name, split, cutouts) for number in range(len(faces.images))]
    return np.concatenate(tiles, axis=1)


def _tile(faces: DrawnFaces, number: int, name: str, split: Split, cutouts: Cutouts | None) -> NDArray[np.uint8]:
    """Return one covered face; white where the folder has no cut-out of that split."""
    side = faces.images.shape[1]
    tile = np.full((side + GAP, side + GAP, 3), 255, np.uint8)
    kinds = [part.removeprefix(CUTOUT) for part in name.split(WITH) if part.startswith(CUTOUT)]
    if cutouts is not None and any(kind not in cutouts.kinds(split) for kind in kinds):
        return tile
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {split} {number}".encode()))
    face = torch.from_numpy(np.ascontiguousarray(faces.images[number].transpose(2, 0, 1)))
    covered, _ = draw_occluder(
        face, faces.landmarks[number], name, generator, split=split, cutouts=cutouts, natural=True
    )
    tile[:side, :side] = covered.permute(1, 2, 0).numpy()
    return tile
