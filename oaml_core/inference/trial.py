"""Trial faces of an exported model: drawn people with the numbers that float32 gives of them.

They lie in the model's metadata beside those of `oaml_core.inference.model_metadata`, and in its variants too: whatever
is to run one of these files can be asked how far from float32 it is on inputs like those to come.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.decoding.decode import decode_image
from oaml_core.errors import DataError, ExportError
from oaml_core.inference.model_metadata import REMEDY
from oaml_core.structured_text import parse_json

KEY = "oaml_trial"
"""Name of the entry in the metadata of an ONNX file."""
EVERY = 31
"""Step between the numbers of a face that are kept of long outputs; prime, so that every place of a map has its
turn."""
LONG = 1_000
"""Numbers per face from which on an output is long."""


class TrialFaces(NamedTuple):
    """Faces, and the outputs of the model in float32."""

    images: NDArray[np.uint8]
    """[n, S, S, 3] RGB."""
    outputs: dict[str, NDArray[np.float32]]
    """[n, k] by name of the output, see `thinned`."""


def thinned(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the numbers [n, k] of an output [n, …] that a trial keeps: all, or of a long one each `EVERY`-th."""
    flat = values.reshape(len(values), -1)
    return np.asarray(flat if flat.shape[1] <= LONG else flat[:, ::EVERY], dtype=np.float32)


def distance(found: NDArray[Any], exact: NDArray[Any]) -> float:
    """Return |x − y| / |y| of numbers x and those y that they should be."""
    length = float(np.linalg.norm(exact))
    return float(np.linalg.norm(found - exact)) / (length or 1.0)


def write_trial(images: NDArray[np.uint8], outputs: Mapping[str, NDArray[Any]]) -> str:
    """Return the text of a trial, images as PNG.

    Args:
        images: uint8 [n, S, S, 3] RGB.
        outputs: whole outputs [n, …] of float32 by name.
    """
    faces = []
    for image in images:
        picture = io.BytesIO()
        Image.fromarray(image).save(picture, "PNG", optimize=True)
        faces.append(base64.b64encode(picture.getvalue()).decode())
    numbers = {name: base64.b64encode(thinned(one).astype("<f4").tobytes()).decode() for name, one in outputs.items()}
    return json.dumps({"faces": faces, "outputs": numbers})


def read_trial(text: str | bytes, path: object, size: int) -> TrialFaces:
    """Return the trial that a model carries.

    Args:
        text: JSON of the model's entry `KEY`.
        path: of the model, for messages.
        size: side of the model's input in pixels.

    Raises:
        ExportError: it is damaged.
    """
    what = f"The trial of {path}"
    found = parse_json(text, what, REMEDY, ExportError, {"faces": list, "outputs": dict})
    try:
        images = np.stack([decode_image(_bytes(face)) for face in found["faces"]])
        numbers = {name: np.frombuffer(_bytes(one), "<f4") for name, one in found["outputs"].items()}
        outputs = {name: one.reshape(len(images), len(one) // len(images)) for name, one in numbers.items()}
    except (DataError, TypeError, ValueError) as error:  # no base64, no picture, sides or lengths that differ
        raise ExportError(f"{what} is damaged: {error}. {REMEDY}") from None
    if images.shape[1:] != (size, size, 3):
        raise ExportError(
            f"{what} is damaged: its faces are {images.shape[1:]}, the model takes {size} × {size}. {REMEDY}"
        )
    strange = [name for name, one in outputs.items() if not one.size or not np.isfinite(one).all()]
    if strange:
        raise ExportError(f"{what} is damaged: {strange[0]} holds no finite numbers. {REMEDY}")
    return TrialFaces(images, outputs)


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{str(text)[:40]!r} is no text")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
