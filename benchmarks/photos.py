"""Faces found in scenes whose faces are known: `python -m benchmarks.photos VERIFICATION.bin --faces 60`.

Aligned faces are pasted into photographs without faces by random similarity transforms (turned by up to 30°, scaled
0.3 to 3). Printed are the share found, the error of the points as a share of the distance between the eyes (against the
template, so it holds the pose too), and what was found where no face is: by the network that comes with OAML, and by
the published one that it was trained from. Then the main faces are aligned by `oaml align`, by `autocrop`, and by MTCNN
where that is installed: `pip install --no-deps facenet-pytorch`, for the package asks for an older torch than it needs.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from benchmarks.told import run
from benchmarks.yunet_module import published_network
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.verification import open_verification_source
from oaml_core.decoding.decode import decode_image
from oaml_core.photos.alignment import TEMPLATE
from oaml_core.photos.faces import FaceFinder, FaceNotFoundError
from oaml_core.photos.files import load_photo
from oaml_core.photos.yunet import HABIT, YuNet

BACKGROUNDS = ("coffee", "rocket", "chelsea", "hubble_deep_field")
WITHOUT_FACES = (
    *BACKGROUNDS,
    "brick",
    "coins",
    "grass",
    "gravel",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "text",
)
SIDE = 1200


def scene(
    face: np.ndarray,
    background: np.ndarray,
    generator: np.random.Generator,
    band: str | None,
    side: int = SIDE,
    scales: tuple[float, float] = (0.3, 3.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Paste a face into a background; returns the scene and the five template points in it.

    Args:
        face: aligned, uint8 [112, 112, 3].
        background: uint8 [H, W, 3]; it is brought to the scene's side.
        generator: of scale, angle and place.
        band: what is covered; None: nothing.
        side: of the scene in pixels.
        scales: least and greatest scale of the face.
    """
    scale, angle = np.exp(generator.uniform(*np.log(scales))), np.radians(generator.uniform(-30, 30))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = generator.uniform(180 * scale, side - 180 * scale, 2) - turn @ [56, 56]
    inverse = np.linalg.inv(np.vstack([np.column_stack([turn, shift]), [0, 0, 1]]))
    covered = face.copy()
    if band == "lower half":
        covered[62:] = (40, 40, 60)
    elif band == "all but the eyes":
        covered[62:], covered[:38] = (30, 30, 30), (30, 30, 30)
    picture = Image.fromarray(covered)
    if scale < 1:  # transform takes single pixels: blur what is made smaller
        small = max(8, round(112 * scale))
        picture = picture.resize((small, small), Image.Resampling.LANCZOS).resize((112, 112))
    canvas = Image.fromarray(background).resize((side, side))
    coefficients = tuple(float(value) for value in inverse[:2].ravel())
    affine = Image.Transform.AFFINE
    pasted = picture.transform((side, side), affine, coefficients, Image.Resampling.BICUBIC)
    mask = Image.new("L", (112, 112), 255).transform((side, side), affine, coefficients)
    return np.asarray(Image.composite(pasted, canvas, mask)), (TEMPLATE + HABIT) @ turn.T + shift


def count_false(finder: FaceFinder, folder: Path) -> None:
    """Search photographs without faces, those of a folder and of scikit-image, and print what is found."""
    files = {path.name: path for path in sorted(folder.iterdir())}
    photos = {name: load_photo(path) for name, path in files.items()}
    for name in WITHOUT_FACES:
        photo = getattr(skimage.data, name)()
        photos[name] = np.ascontiguousarray(np.stack([photo] * 3, axis=-1) if photo.ndim == 2 else photo[..., :3])
    found = {name: finder.all_faces_in(photo) for name, photo in photos.items()}
    megapixels = sum(photo.shape[0] * photo.shape[1] for photo in photos.values()) / 1e6
    false = [f"{name} {face.score:.2f}" for name, faces in found.items() for face in faces]
    print(
        f"without faces: {len(false)} false in {megapixels:.0f} megapixels of {len(photos)} photographs",
        *false,
        sep="; ",
    )


def count_found(finder: FaceFinder, faces: list[np.ndarray], backgrounds: list[np.ndarray], cover: str | None) -> str:
    """Search scenes of one face each, and return how many are found, how well, and what else is."""
    generator = np.random.default_rng(0)
    found, false, errors, started = 0, 0, [], time.process_time()
    for number, face in enumerate(faces):
        photo, points = scene(face, backgrounds[number % len(backgrounds)], generator, cover)
        seen = np.array([one.points for one in finder.all_faces_in(photo)]).reshape(-1, 5, 2)
        eyes = np.linalg.norm(points[0] - points[1])
        distances = np.sqrt(((seen - points) ** 2).sum(2).mean(1)) / eyes
        right = distances < 0.5
        found += bool(right.any())
        false += int((~right).sum())
        errors += [float(distances.min())] if right.any() else []
    megapixels = len(faces) * SIDE**2 / 1e6
    error = f"{100 * np.median(errors):.1f} %" if errors else "–"
    return (
        f"found {found} of {len(faces)}, median point error {error} of the eyes' distance, {false} false in "
        f"{megapixels:.0f} megapixels, {(time.process_time() - started) / len(faces):.2f} s of CPU per scene"
    )


def beside_others(faces: list[np.ndarray], backgrounds: list[np.ndarray], cover: str | None) -> str:
    """Align the main face of the same scenes with other tools too, on one thread; return what each finds and takes."""
    generator = np.random.default_rng(0)
    scenes = [
        scene(face, backgrounds[number % len(backgrounds)], generator, cover)[0] for number, face in enumerate(faces)
    ]
    told = []
    for name, align in {"oaml align": partial(_aligned, FaceFinder()), **_others()}.items():
        align(scenes[0])
        started = time.process_time()
        found = sum(align(photo) for photo in scenes)
        told.append(
            f"{name} {found} of {len(scenes)}, {len(scenes) / (time.process_time() - started):.1f} photographs/s"
        )
    return "; ".join(told)


def _others() -> dict[str, Callable[[np.ndarray], bool]]:
    """Return `autocrop`, and `facenet-pytorch`'s MTCNN where it is installed, each with its own settings."""
    import cv2
    from autocrop import Cropper

    cv2.setNumThreads(1)
    cropper = Cropper(width=112, height=112, align=True)
    others: dict[str, Callable[[np.ndarray], bool]] = {
        "autocrop": lambda photo: cropper.crop(photo[..., ::-1].copy()).image is not None
    }
    if importlib.util.find_spec("facenet_pytorch") is not None:
        import torch
        from facenet_pytorch import MTCNN

        torch.set_num_threads(1)
        mtcnn = MTCNN(image_size=112)
        others["MTCNN"] = lambda photo: mtcnn(Image.fromarray(photo)) is not None
    return others


def _aligned(finder: FaceFinder, photo: np.ndarray) -> bool:
    try:
        finder.main_face_in(photo, "scene")
    except FaceNotFoundError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verification", type=Path)
    parser.add_argument("--faces", type=int, default=60)
    parser.add_argument("--photographs", type=Path, help="folder of photographs without faces, searched for false ones")
    options = parser.parse_args()
    path = options.verification
    source = open_verification_source(LocalFolder(path.parent), path.stem, path.name)
    faces = [decode_image(data) for _, data in zip(range(options.faces), source.read_images(), strict=False)]
    backgrounds = [getattr(skimage.data, name)()[..., :3] for name in BACKGROUNDS]
    finders = {"this network": FaceFinder(), "published": FaceFinder(YuNet(published_network()))}
    for which, finder in finders.items():
        if options.photographs:
            print(which, end=": ")
            count_false(finder, options.photographs)
        for cover in (None, "lower half", "all but the eyes"):
            print(f"{which}: {cover or 'clean':<18} {count_found(finder, faces, backgrounds, cover)}", flush=True)
    for cover in (None, "lower half", "all but the eyes"):
        print(f"one core, {cover or 'clean':<18} {beside_others(faces, backgrounds, cover)}", flush=True)


if __name__ == "__main__":
    run(main)
