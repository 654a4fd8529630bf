"""Any ONNX face recogniser behind the methods of `OamlOnnx`, to be measured beside it: numpy and onnxruntime alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import ExportError, ModelInputError
from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.graph_shapes import OPEN_SIDE, image_layout, square_side, widest_vector
from oaml_core.inference.records import FaceRecords, Floats
from oaml_core.onnx_session import open_session

Channels = Literal["rgb", "bgr"]
Pixels = Literal["bytes", "signed", "unit"]
BATCH = 32
BYTES = "tensor(uint8)"
TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    BYTES: np.uint8,
}
"""Inputs that can be given, by the name that the runtime has for them."""


class PlainOnnx(GlobalOnly):
    """A recogniser with one image input and one embedding output; it has a global score alone.

    Args:
        path: the model, [N, 3, H, H] or [N, H, H, 3] in, [N, E] out; trailing axes of one element are dropped. N may be
            fixed: batches are filled up. Of several outputs the widest is taken, as the others are norms or qualities.
        channels: order of the colours that it expects.
        pixels: `bytes`, 0 to 255, `signed`, value / 127.5 − 1, or `unit`, value / 255.

    Raises:
        ExportError: the file is missing, unreadable, or has no such input and output.
    """

    def __init__(self, path: str | Path, channels: Channels = "rgb", pixels: Pixels = "bytes") -> None:
        if not Path(path).is_file():
            raise ExportError(f"{path} does not exist.")
        try:
            self._session = open_session(path)
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            first = inputs[0]
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ExportError(f"{path} cannot be loaded by onnxruntime: {error}") from error
        self._path, self._channels, self._pixels = path, channels, pixels
        self._input, self._planes, self._size = first, *_layout(first, path)
        if first.type not in TYPES or (pixels != "bytes" and first.type == BYTES):
            raise ExportError(
                f"{path} takes {first.type} as {pixels} pixels; floats, or raw bytes as bytes, can be measured."
            )
        self._type = TYPES[first.type]
        self._beside = unread_inputs(self._session, path)
        self._output = _embedding(outputs, path)
        self.vectors = [one.name for one in outputs if widest_vector({one.name: _lengths(one)}) is not None]
        """Names of all outputs that could be the embedding: vectors of two numbers and more."""

    @property
    def output(self) -> str:
        """Name of the output that is taken for the embedding."""
        return self._output

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels; 112 where the model leaves it open."""
        return self._size

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Embeddings, image and mirrored image fused, of faces uint8 [n, H, W, 3] RGB or one of them.

        Raises:
            ModelInputError: the images are not uint8 RGB of the model's size. ExportError: the model fails on them, or
                its embeddings are not finite.
        """
        batch = images[None] if images.ndim == 3 else images
        size = self.image_size
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
            raise ModelInputError(
                f"The images are {images.dtype} {images.shape}; uint8 [n, {size}, {size}, 3] is taken."
            )
        raw = np.concatenate([self._embed(batch[start : start + BATCH]) for start in range(0, len(batch), BATCH)])
        norm = np.linalg.norm(raw, axis=1)
        if not np.isfinite(norm).all():
            raise ExportError(f"{self._path} gives embeddings that are NaN or infinite: its weights are damaged.")
        count = len(raw)
        return FaceRecords(
            np.asarray(raw / np.maximum(norm, 1e-12)[:, None], dtype=np.float32),
            np.ones((count, 1, 1, 1), dtype=np.float32),
            np.zeros((count, 0, 1, 1), dtype=np.float32),
            np.asarray(norm / 2, dtype=np.float32),
        )

    def _embed(self, images: NDArray[np.uint8]) -> Floats:
        """Sum of the raw embeddings of images and mirrored images, [n, E]."""
        values = np.concatenate([images, images[:, :, ::-1]]).astype(np.float32)
        if self._channels == "bgr":
            values = values[..., ::-1]
        if self._pixels == "signed":
            values = values / 127.5 - 1.0
        elif self._pixels == "unit":
            values = values / 255.0
        if self._planes:
            values = values.transpose(0, 3, 1, 2)
        n, fixed = len(images), self._input.shape[0]
        at_once = fixed if isinstance(fixed, int) and fixed > 0 else len(values)
        raw = np.concatenate(
            [self._run(values[start : start + at_once], at_once) for start in range(0, 2 * n, at_once)]
        )
        return np.asarray(raw[:n] + raw[n:], dtype=np.float32)

    def _run(self, values: Floats, count: int) -> Floats:
        """Embeddings [b, E] of b values, with black images up to `count`, which the model may be made for."""
        filled = np.zeros((count, *values.shape[1:]), dtype=self._type)
        filled[: len(values)] = values
        try:
            found = self._session.run([self._output], {self._input.name: filled} | self._beside)[0]
        except Exception as error:  # as above
            raise ExportError(f"{self._path} fails on faces {list(filled.shape)}: {str(error)[:300]}") from error
        if found.ndim < 2 or len(found) != count or found.size != count * found.shape[1]:
            raise ExportError(
                f"{self._path} gives {list(found.shape)} for {amount(count, 'face')}; one embedding each is needed."
            )
        return np.asarray(found.reshape(count, -1)[: len(values)], dtype=np.float32)


def unread_inputs(session: Any, path: str | Path) -> dict[str, NDArray[Any]]:
    """Return values for the inputs beside the first one, which must change nothing.

    Some tools list weights among the inputs though the graph computes them from others, as in files whose weights were
    made whole numbers. The runtime asks for them all the same.

    Args:
        session: of onnxruntime; its first input is the image.
        path: of the graph, for messages.

    Raises:
        ExportError: an output depends on one of them.
    """
    image, *others = session.get_inputs()
    if not others:
        return {}
    with_zeros, with_ones = (
        {one.name: np.full(_shape(one), value, dtype=TYPES.get(one.type, np.int64)) for one in others}
        for value in (0, 1)
    )
    batch, *sides = _shape(image)
    given = {image.name: np.ones([batch, *(OPEN_SIDE if side == 1 else side for side in sides)], TYPES[image.type])}
    try:
        found = zip(session.run(None, given | with_zeros), session.run(None, given | with_ones), strict=True)
        is_same = all(np.array_equal(zeros, ones, equal_nan=True) for zeros, ones in found)
    except Exception:  # as above; such an input has a type or a shape that matters
        is_same = False
    if not is_same:
        more = ", ".join(f"{one.name} {one.shape}" for one in others)
        raise ExportError(f"{path} takes {more} beside the image; models that take an image alone can be measured.")
    return with_zeros


def _shape(taken: Any) -> list[int]:
    """Return the shape of an input, with 1 for lengths that it leaves open."""
    return [side if isinstance(side, int) and side > 0 else 1 for side in taken.shape]


def _layout(taken: Any, path: str | Path) -> tuple[bool, int]:
    """Return whether the colours are planes, and the side of the image; refuses what takes no square RGB image."""
    layout = image_layout([side if isinstance(side, int) else 0 for side in taken.shape])
    if layout is None:
        raise ExportError(f"{path} takes {taken.name} {taken.shape}; [N, 3, H, W] or [N, H, W, 3] can be measured.")
    planes, (height, width) = layout
    side = square_side((height, width))
    if side is None:
        raise ExportError(
            f"{path} takes images of {width}×{height} pixels; faces are square, and so must its input be."
        )
    return planes, side


def _lengths(output: Any) -> list[float]:
    return [side if isinstance(side, int) else math.inf for side in output.shape]


def _embedding(outputs: Sequence[Any], path: str | Path) -> str:
    """Return the name of the widest output that has one vector per image."""
    found = widest_vector({one.name: _lengths(one) for one in outputs})
    if found is None:
        shapes = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        raise ExportError(f"{path} has no output [N, E] that could be an embedding, but {shapes}.")
    return found[0]
