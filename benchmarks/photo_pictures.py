"""Draw how covered faces are found: `python -m benchmarks.photo_pictures docs/photos.png`.

NASA's photograph of Eileen Collins, as scikit-image has it (public domain), as it is and under drawn occluders of the
test artwork: box, points and score as `FaceFinder` finds them, and the aligned face below.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

from benchmarks.told import run
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.photos.alignment import align_points, cut_out
from oaml_core.photos.faces import FaceFinder

COVERS = ("surgical", "veil", "sunglasses", "scarf", "hand")
PART = (slice(0, 260), slice(90, 350))
"""Rows and columns of the photograph that are shown."""


def covered(photo: np.ndarray, points: np.ndarray, kind: str) -> np.ndarray:
    """Return the photograph with an occluder on its face."""
    alignment = align_points(points)
    face = torch.from_numpy(cut_out(photo, alignment.matrix, 112).copy()).permute(2, 0, 1).contiguous()
    place = points @ alignment.matrix[:, :2].T + alignment.matrix[:, 2]
    generator = torch.Generator().manual_seed(5)
    drawn, visible = draw_occluder(
        face, torch.from_numpy(place.astype(np.float32)), kind, generator, split="test", natural=True
    )
    back = tuple(float(value) for value in alignment.matrix.ravel())
    size, affine = photo.shape[1::-1], Image.Transform.AFFINE
    worn = Image.fromarray(drawn.permute(1, 2, 0).numpy()).transform(size, affine, back, Image.Resampling.BICUBIC)
    hidden = Image.fromarray((255 * (1 - visible[0].numpy())).astype(np.uint8)).transform(size, affine, back)
    return np.asarray(Image.composite(worn, Image.fromarray(photo), hidden))


def column(finder: FaceFinder, photo: np.ndarray, name: str) -> np.ndarray:
    """Return one photograph with what is found, and the aligned face below it."""
    face = finder.main_face_in(photo, name)
    assert face.points is not None
    assert face.box is not None
    picture = Image.fromarray(np.ascontiguousarray(photo))
    draw = ImageDraw.Draw(picture)
    draw.rectangle(tuple(float(value) for value in face.box), outline="#ffd43b", width=2)
    for x, y in face.points:
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#63e6be", outline="#18191b")
    draw.text((6, 6), f"{name} {face.score:.2f}", fill="#ffffff", stroke_width=2, stroke_fill="#18191b")
    width = photo.shape[1]
    below = Image.new("RGB", (width, 124), "#18191b")
    below.paste(Image.fromarray(face.image), ((width - 112) // 2, 6))
    return np.concatenate([np.asarray(picture), np.asarray(below)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    finder, photo = FaceFinder(), np.ascontiguousarray(skimage.data.astronaut()[PART])
    points = finder.main_face_in(photo, "uncovered").points
    assert points is not None
    columns = [column(finder, photo, "uncovered")]
    columns += [column(finder, covered(photo, points, kind), kind) for kind in COVERS]
    rows = [np.concatenate(columns[start : start + 3], axis=1) for start in (0, 3)]
    Image.fromarray(np.concatenate(rows)).save(options.out, optimize=True)
    print(options.out)


if __name__ == "__main__":
    run(main)
