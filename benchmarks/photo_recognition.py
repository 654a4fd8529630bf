"""Recognition by found points against given points: `python -m benchmarks.photo_recognition PAIRS.bin MODEL.onnx`.

Faces of a verification set are pasted into photographs without faces, as `benchmarks.photos` does: the first of each
genuine pair uncovered, the second uncovered and under each drawn occluder. Each is cut out twice: by the points found
by the detector, and by the known ones. Both ways are judged on the same pairs, those of two faces that were found:
genuine pairs of the set, and impostor pairs of its first faces with the second faces of other people. The threshold
at FAR 1e-3 is taken per way and cover; a face that is not found costs both ways the same pair, and is counted beside
them. `PAIRS_meta.json` beside the set names its images, `person/picture.jpg`, and has their points.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import skimage.data
import torch

from benchmarks.photos import BACKGROUNDS, SIDE, scene
from benchmarks.told import run
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.decoding.decode import decode_image
from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import align_points, cut_out
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.yunet import HABIT
from oaml_core.progress import progress

FAR = 1e-3
COVERS = ("surgical", "veil", "sunglasses", "scarf", "hand")
NEAR = 0.5
"""Largest distance of the found eyes from the known ones, in distances of the eyes."""
Crops = tuple[np.ndarray, np.ndarray]


def crops(face: np.ndarray, number: int, finder: FaceFinder) -> Crops | None:
    """Crops of a pasted face by found and by known points; None if it was not found."""
    background = getattr(skimage.data, BACKGROUNDS[number % len(BACKGROUNDS)])()[..., :3]
    photo, known = scene(face, background, np.random.default_rng(number), None)
    try:
        found = finder.main_face_in(photo, str(number))
    except ModelInputError:
        return None
    if found.points is None:
        return None
    away = np.linalg.norm(found.points[:2] - known[:2], axis=1).mean()
    if away > NEAR * np.linalg.norm(known[0] - known[1]):
        return None
    return found.image, cut_out(photo, align_points(known, habit=HABIT).matrix)


def covered(face: np.ndarray, points: Sequence[Sequence[float]], cover: str, number: int) -> np.ndarray:
    """A face under one drawn occluder of the test split, the same for the same number."""
    image = torch.from_numpy(np.ascontiguousarray(face.transpose(2, 0, 1)))
    draws = torch.Generator().manual_seed(number)
    drawn, _ = draw_occluder(image, np.asarray(points, np.float32), cover, draws, "test", natural=True)
    return drawn.numpy().transpose(1, 2, 0)


def rate(first: np.ndarray, second: np.ndarray, people: np.ndarray) -> tuple[float, int]:
    """TAR at FAR of rows that pair, impostors being rows of different people; and how many impostor pairs there are."""
    scores = first @ second.T
    impostor = np.sort(scores[people[:, None] != people[None]])[::-1]
    threshold = impostor[int(FAR * len(impostor))]
    return float((np.diag(scores) > threshold).mean()), len(impostor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verification", type=Path)
    parser.add_argument("model", type=Path, help="ONNX, RGB bytes [N, 3, 112, 112] to embeddings")
    parser.add_argument("--pairs", type=int, default=100, help="genuine pairs, from the end of the set")
    parser.add_argument("--covers", default=",".join(COVERS), help="drawn occluders; empty: none")
    options = parser.parse_args()
    path = options.verification
    source = open_verification_source(LocalFolder(path.parent), path.stem, path.name)
    meta = json.loads(path.with_name(f"{path.stem}_meta.json").read_text(encoding="utf-8"))
    names = [image for pair in meta["pairs"] for image in pair]
    images = list(source.read_images())
    genuine = np.flatnonzero(source.issame)[-options.pairs :]
    people = np.array([Path(names[2 * pair]).parent.name for pair in genuine])
    finder, session = FaceFinder(), onnxruntime.InferenceSession(str(options.model))

    def described(made: Sequence[Crops], way: int) -> np.ndarray:
        batch = np.stack([one[way] for one in made]).astype(np.float32).transpose(0, 3, 1, 2)
        name = session.get_inputs()[0].name
        parts = [session.run(None, {name: batch[at : at + 32]})[0] for at in range(0, len(batch), 32)]
        embeddings = np.concatenate(parts)
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    uncovered = [crops(decode_image(images[2 * pair]), int(2 * pair), finder) for pair in genuine]
    print(f"{len(genuine)} pairs in photographs of {SIDE} × {SIDE} pixels; TAR at FAR {FAR:g}")
    for cover in ("", *(name for name in options.covers.split(",") if name)):
        second = []
        for pair in progress(genuine, len(genuine), cover or "uncovered"):
            number = int(2 * pair + 1)
            face = decode_image(images[number])
            face = covered(face, meta["landmarks"][names[number]], cover, number) if cover else face
            second.append(crops(face, number, finder))
        both = [(a, b) for a, b in zip(uncovered, second, strict=True) if a is not None and b is not None]
        kept = np.array([a is not None and b is not None for a, b in zip(uncovered, second, strict=True)])
        said = [f"{cover or 'uncovered':<11} found {sum(one is not None for one in second)} of {len(second)}"]
        for way, what in enumerate(("found", "given")):
            sides = (described([pair[side] for pair in both], way) for side in (0, 1))
            tar, impostors = rate(*sides, people[kept])
            said.append(f"{what} points {100 * tar:.1f} %")
        print(f"{'; '.join(said)} ({len(both)} genuine, {impostors:,} impostor pairs)", flush=True)


if __name__ == "__main__":
    run(main)
