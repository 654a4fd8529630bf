"""Any ONNX face recogniser behind the methods of `OamlOnnx`, to be measured beside it: numpy and onnxruntime alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import ExportError, ModelInputError
from oaml_core.inference.comparer import GlobalOnly
from oaml_core.inference.records import FaceRecords, Floats

Channels = Literal["rgb", "bgr"]
Pixels = Literal["raw", "signed"]
BATCH = 32


class PlainOnnx(GlobalOnly):
    """A recogniser with one image input and one embedding output; it has a global score alone.

    Args:
        path: the model, [N, 3, H, W] or [N, H, W, 3] in, [N, E] out.
        channels: order of the colours that it expects.
        pixels: `raw`, 0 to 255, or `signed`, value / 127.5 − 1.

    Raises:
        ExportError: the file is missing, unreadable, or has no such input and output.
    """

    def __init__(self, path: str | Path, channels: Channels = "rgb", pixels: Pixels = "raw") -> None:
        import onnxruntime

        if not Path(path).is_file():
            raise ExportError(f"{path} does not exist.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Waiting threads that spin take the time of whoever else works on the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
            first, named = inputs[0], [one.name for one in outputs if len(one.shape) == 2]
        except Exception as error:  # onnxruntime's own exception types share no base below Exception
            raise ExportError(f"{path} cannot be loaded by onnxruntime: {error}") from error
        self._channels, self._pixels = channels, pixels
        sides = [side if isinstance(side, int) else None for side in first.shape]
        if len(sides) != 4 or 3 not in (sides[1], sides[3]):
            raise ExportError(f"{path} takes {first.name} {first.shape}; [N, 3, H, W] or [N, H, W, 3] can be measured.")
        self._input, self._planes = first, sides[1] == 3
        if not named:
            raise ExportError(f"{path} has no output [N, E] that could be an embedding.")
        self._output = named[0]
        self._size = sides[2] if self._planes else sides[1]

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels; 112 where the model leaves it open."""
        return int(self._size or 112)

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Embeddings, image and mirrored image fused, of faces uint8 [n, H, W, 3] RGB or one of them.

        Raises:
            ModelInputError: the images are not uint8 RGB of the model's size.
        """
        batch = images[None] if images.ndim == 3 else images
        size = self.image_size
        if batch.dtype != np.uint8 or batch.shape[1:] != (size, size, 3):
            raise ModelInputError(
                f"The images are {images.dtype} {images.shape}; uint8 [n, {size}, {size}, 3] is taken."
            )
        raw = np.concatenate([self._embed(batch[start : start + BATCH]) for start in range(0, len(batch), BATCH)])
        norm = np.linalg.norm(raw, axis=1)
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
        if self._planes:
            values = values.transpose(0, 3, 1, 2)
        n = len(images)
        fixed = self._input.shape[0] == 1
        parts = np.split(values, len(values)) if fixed else [values]
        raw = np.concatenate(
            [self._session.run([self._output], {self._input.name: np.ascontiguousarray(part)})[0] for part in parts]
        )
        return np.asarray(raw[:n] + raw[n:], dtype=np.float32)
