"""Parts of a scene that a face detector is trained on, and the camera that photographs it."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from oaml_core.photos.detection import Floats, Photo


@dataclass(frozen=True)
class PastedFace:
    """One aligned face to paste: uint8 [112, 112, 3] and its five points [5, 2]."""

    image: Photo
    points: Floats


@dataclass(frozen=True)
class Scene:
    """One scene with its faces covered and uncovered: uint8 [side, side, 3] each."""

    covered: Photo
    """Scene as a camera might give it: in other light, blurred, noisy, compressed."""
    uncovered: Photo
    points: Floats
    """[n, 5, 2] in pixels, n from 0 to 5, where YuNet sees them in whole faces; visible or not."""


@dataclass(frozen=True)
class Patch:
    """One face or decoy to paste: uint8 [112, 112, 3] each."""

    covered: Photo
    uncovered: Photo
    surround: Photo | None
    """Cloth around it."""
    points: Floats
    """[5, 2]."""


def photographed(scene: Photo, draws: np.random.Generator) -> Photo:
    """Return the scene as a camera might give it: other light, blurred, noisy, compressed."""
    picture = Image.fromarray(scene)
    if draws.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(draws.uniform(0.3, 1.5)))
    values = np.asarray(picture, dtype=np.float32)
    values = 255 * (values / 255) ** draws.uniform(0.7, 1.4) * draws.uniform(0.75, 1.2, 3).astype(np.float32)
    if draws.random() < 0.1:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    if draws.random() < 0.4:
        values = values + draws.normal(0, draws.uniform(1, 9), values.shape).astype(np.float32)
    picture = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if draws.random() < 0.4:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(draws.integers(30, 95)))
        picture = Image.open(file).convert("RGB")
    return np.asarray(picture)
