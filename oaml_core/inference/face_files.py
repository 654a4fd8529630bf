"""Aligned faces from image files, through the one decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.decoding.files import read_image
from oaml_core.errors import ModelInputError


def load_face(path: str | Path, size: int = 112) -> NDArray[np.uint8]:
    """Return an aligned face: uint8 [size, size, 3] RGB; a square image of another size is resampled.

    Args:
        path: an image of one of `oaml_core.decoding.decode.FORMATS`.
        size: side in pixels that the model takes.

    Raises:
        ModelInputError: the file is missing, not an image, or not square and so not an aligned face.

    Example:
        >>> import oaml_core as oaml
        >>> oaml.load_face("a.png").shape
        (112, 112, 3)
    """
    return load_scaled_face(path, size)[0]


def load_scaled_face(path: str | Path, size: int = 112) -> tuple[NDArray[np.uint8], float]:
    """Return an aligned face as `load_face` does, and the factor by which points in the file's pixels are multiplied.

    Args:
        path: an image of one of `oaml_core.decoding.decode.FORMATS`.
        size: side in pixels that the model takes.

    Returns:
        uint8 [size, size, 3] RGB, and `size` / the file's side.

    Raises:
        ModelInputError: see `load_face`.
    """
    face = Image.fromarray(read_image(path))
    scale = size / face.width
    if face.width != face.height:
        raise ModelInputError(
            f"{path} is {face.width} × {face.height} pixels; the model takes square crops of faces aligned to the "
            f"{size} × {size} template (eyes level, about {0.46 * size:.0f} pixels below the top). "
            "Align and crop the face first."
        )
    if face.width != size:
        face = face.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(face, dtype=np.uint8), scale
