"""Recognition by found points against given points: `python -m benchmarks.photo_recognition PAIRS.bin MODEL.onnx`.

Faces of a verification set are pasted into photographs without faces, as `benchmarks.photos` does. Each is cut out
twice: by the points that the detector finds, and by the known ones. Both ways are judged on the same pairs, those of
two faces that were found: genuine pairs of the set, and impostor pairs of all its faces of different people. The
threshold at FAR 1e-3 is taken per way. `PAIRS_meta.json` beside the set names its images, `person/picture.jpg`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import skimage.data

from benchmarks.photos import BACKGROUNDS, SIDE, scene
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.decoding.decode import decode_image
from oaml_core.errors import ModelInputError
from oaml_core.photos.alignment import align_points, cut_out
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.yunet import HABIT

FAR = 1e-3


def crops(face: np.ndarray, number: int, finder: FaceFinder) -> tuple[np.ndarray, np.ndarray] | None:
    """Crops of a pasted face by found and by known points; None if it was not found."""
    background = getattr(skimage.data, BACKGROUNDS[number % len(BACKGROUNDS)])()[..., :3]
    photo, known = scene(face, background, np.random.default_rng(number), None)
    try:
        found = finder.main_face_in(photo, str(number))
    except ModelInputError:
        return None
    if found.points is None or np.linalg.norm(found.points.mean(0) - known.mean(0)) > np.linalg.norm(
        known[0] - known[1]
    ):
        return None
    return found.image, cut_out(photo, align_points(known, habit=HABIT).matrix)


def rate(embeddings: np.ndarray, pairs: np.ndarray, people: np.ndarray) -> tuple[float, int, int]:
    """TAR at FAR, and how many genuine and impostor pairs it counts."""
    scores = embeddings @ embeddings.T
    first, second = np.triu_indices(len(people), 1)
    impostor = np.sort(scores[first, second][people[first] != people[second]])[::-1]
    threshold = impostor[int(FAR * len(impostor))]
    genuine = scores[pairs[:, 0], pairs[:, 1]]
    return float((genuine > threshold).mean()), len(genuine), len(impostor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verification", type=Path)
    parser.add_argument("model", type=Path, help="ONNX, RGB bytes [N, 3, 112, 112] to embeddings")
    parser.add_argument("--pairs", type=int, default=100, help="genuine pairs, from the end of the set")
    options = parser.parse_args()
    path = options.verification
    source = open_verification_source(LocalFolder(path.parent), path.stem, path.name)
    listed = json.loads(path.with_name(f"{path.stem}_meta.json").read_text(encoding="utf-8"))["pairs"]
    names = np.array([Path(image).parent.name for pair in listed for image in pair])
    images = list(source.read_images())
    genuine = np.flatnonzero(source.issame)[-options.pairs :]
    finder, session = FaceFinder(), onnxruntime.InferenceSession(str(options.model))
    name = session.get_inputs()[0].name
    cut: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number in np.stack([2 * genuine, 2 * genuine + 1], axis=1).ravel():
        made = crops(decode_image(images[number]), int(number), finder)
        if made is not None:
            cut[int(number)] = made
    rows = {number: row for row, number in enumerate(cut)}
    people = names[list(cut)]
    pairs = np.array([(rows[2 * p], rows[2 * p + 1]) for p in genuine if 2 * p in rows and 2 * p + 1 in rows])
    print(f"found {len(cut)} of {2 * len(genuine)} faces in photographs of {SIDE} × {SIDE} pixels")
    for way, what in enumerate(("found points", "given points")):
        batch = np.stack([made[way] for made in cut.values()]).astype(np.float32).transpose(0, 3, 1, 2)
        embeddings = np.concatenate(
            [session.run(None, {name: batch[at : at + 32]})[0] for at in range(0, len(batch), 32)]
        )
        embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
        tar, same, different = rate(embeddings, pairs, people)
        print(f"{what}: TAR {100 * tar:.1f} % at FAR {FAR:g} ({same} genuine, {different:,} impostor pairs)")


if __name__ == "__main__":
    main()
