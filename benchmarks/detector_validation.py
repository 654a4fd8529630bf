"""Validation of a face detector in training: faces found by the whole search, and places taken for faces wrongly.

People and photographs are those that training does not see. Each scene shows one face in a part of a photograph:
uncovered, above a band of cloth, or under a drawn veil whose styles neither training nor a reported measurement uses.
The photographs without faces are searched as they are. What is counted is the answer of `FaceFinder`, not single scores
of the network, for the second look decides about the faces that are hard to see.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.photos import scene
from benchmarks.scene_parts import PastedFace
from benchmarks.yunet_module import YuNetModule, published_network, save
from oaml_core.data.augment.drawings import fabrics
from oaml_core.data.augment.occluder_artwork import VEILS, artwork
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.photos.detection import Floats, Photo
from oaml_core.photos.faces import FaceFinder, FaceNotFoundError
from oaml_core.photos.yunet import YuNet
from oaml_core.registry import OCCLUDERS, register_occluder

COVERS = ("uncovered", "covered", "veiled")
SIDE = 640
"""Side of a scene in pixels."""
SCALES = (0.3, 0.85)
"""Least and greatest scale of a face of 112 pixels: small ones are those that are missed."""
NEAR = 0.5
"""Largest mean distance of the found eyes from the known ones, in distances of the eyes, of a face that is found."""
VEIL = "veil of validation"
"""Name that the veils' styles are drawn from."""


class DetectorVerdict(NamedTuple):
    """Result of a network on the scenes and photographs of a `DetectorValidation`."""

    found: dict[str, int]
    """Scenes whose face is found, by cover."""
    scenes: int
    """Number of scenes per cover."""
    false: int
    """Faces found in the photographs without faces, and elsewhere in the scenes."""
    photographs: int

    @property
    def worth(self) -> int:
        """Faces found less false ones: the number that the best network has the most of."""
        return sum(self.found.values()) - self.false

    def __str__(self) -> str:
        shares = ", ".join(f"{cover} {count} of {self.scenes}" for cover, count in self.found.items())
        return f"found {shares}; {self.false} false faces, {self.photographs} photographs without faces"


class DetectorValidation:
    """Scenes and photographs that stay the same for every network.

    Args:
        faces: aligned faces of people that training does not see.
        photographs: uint8 [H, W, 3], without faces, that training does not see.
        scenes: number of scenes per cover.
        seed: of the scenes.
    """

    def __init__(self, faces: Sequence[PastedFace], photographs: Sequence[Photo], scenes: int, seed: int = 0) -> None:
        self._photographs = list(photographs)
        if VEIL not in OCCLUDERS.names():
            register_occluder(VEIL)(partial(artwork, VEIL, fabrics.veil, VEILS, down=4.0))
        order = np.random.default_rng(seed).permutation(len(faces))
        self._scenes: dict[str, list[tuple[Photo, Floats]]] = {}
        for number, cover in enumerate(COVERS):
            self._scenes[cover] = [
                self._scene(faces[order[(number * scenes + row) % len(faces)]], cover, seed + row)
                for row in range(scenes)
            ]

    def __call__(self, network: YuNetModule) -> DetectorVerdict:
        """Return the verdict on a network, searched with as it will be when it comes with OAML."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            save(network, published_network(), path, {})
            detector = YuNet(path)
        detector.knows_cover = True
        return self.judged(FaceFinder(detector))

    def judged(self, finder: FaceFinder) -> DetectorVerdict:
        """Return the verdict on a finder of faces."""
        found, false = dict.fromkeys(self._scenes, 0), 0
        for cover, scenes in self._scenes.items():
            for photo, known in scenes:
                near = _is_near(finder, photo, known)
                found[cover] += near is True
                false += near is False
        false += sum(len(finder.all_faces_in(photo)) for photo in self._photographs)
        count = len(next(iter(self._scenes.values())))
        return DetectorVerdict(found, count, false, len(self._photographs))

    def _scene(self, face: PastedFace, cover: str, number: int) -> tuple[Photo, Floats]:
        """Return a face in a part of a photograph, uint8 [SIDE, SIDE, 3], and its points [5, 2]."""
        draws = np.random.default_rng([number, COVERS.index(cover)])
        photo = self._photographs[number % len(self._photographs)]
        part = min(min(photo.shape[:2]), int(draws.uniform(400, 1000)))
        top, left = (int(draws.integers(0, side - part + 1)) for side in photo.shape[:2])
        image = _veiled(face, number) if cover == "veiled" else face.image
        band = None if cover != "covered" else ("lower half", "all but the eyes")[number % 2]
        background = np.ascontiguousarray(photo[top : top + part, left : left + part])
        return scene(image, background, draws, band, SIDE, SCALES)


class Best:
    """File of the network with the best verdict so far; the one that training starts from counts too.

    Args:
        validation: judges a network.
        network: at the start.
        out: path of the file.
    """

    def __init__(self, validation: Callable[[YuNetModule], DetectorVerdict], network: YuNetModule, out: Path) -> None:
        self._validation, self._out = validation, out
        self.verdict = validation(network)
        self._keep(network)
        print(f"before training: {self.verdict}", flush=True)

    def meet(self, network: YuNetModule, step: int) -> None:
        """Judge the network of a step, print the verdict, and keep the network if none was better or as good."""
        verdict = self._validation(network)
        better = verdict.worth > self.verdict.worth
        if better:
            self.verdict = verdict
            self._keep(network)
        print(f"step {step}: {verdict}{'; the best so far' if better else ''}", flush=True)

    def _keep(self, network: YuNetModule) -> None:
        save(network, published_network(), self._out, {"made_by": "python -m benchmarks.detector_training"})


def _veiled(face: PastedFace, number: int) -> Photo:
    """Return a face under a veil in a style of the validation's own."""
    image = torch.from_numpy(np.ascontiguousarray(face.image.transpose(2, 0, 1)))
    draws = torch.Generator().manual_seed(number)
    drawn, _ = draw_occluder(image, face.points.astype(np.float32), VEIL, draws, "test", natural=True)
    return drawn.numpy().transpose(1, 2, 0)


def _is_near(finder: FaceFinder, photo: Photo, known: Floats) -> bool | None:
    """Return True if the main face of a scene is the known one, False if it is another place, None without a face."""
    try:
        points = finder.main_face_in(photo, "scene").points
    except FaceNotFoundError:
        return None
    away = np.inf if points is None else np.linalg.norm(points[:2] - known[:2], axis=1).mean()
    return bool(away <= NEAR * np.linalg.norm(known[0] - known[1]))
