"""Aligned faces from image files, with numpy and Pillow alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.errors import ModelInputError


def load_face(path: str | Path, size: int = 112) -> NDArray[np.uint8]:
    """An aligned face: uint8 [size, size, 3] RGB; a square image of another size is resampled.

    Args:
        path: JPEG, PNG or what else Pillow reads.
        size: side in pixels that the model takes.

    Raises:
        ModelInputError: the file is missing, not an image, or not square and so not an aligned face.
    """
    try:
        with Image.open(path) as image:
            face = image.convert("RGB")
    except FileNotFoundError as error:
        raise ModelInputError(f"There is no image {path}.") from error
    except OSError as error:
        raise ModelInputError(f"{path} is not an image that can be read (JPEG, PNG, …), or is damaged.") from error
    if face.width != face.height:
        raise ModelInputError(
            f"{path} is {face.width} × {face.height} pixels; the model takes square crops of faces aligned to the "
            f"{size} × {size} template (eyes level, about {0.46 * size:.0f} pixels below the top). "
            "Align and crop the face first."
        )
    if face.width != size:
        face = face.resize((size, size), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(face, dtype=np.uint8)
