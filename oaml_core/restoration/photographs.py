"""Photographs and camera RAW files as images in [-1, 1], with what the camera says of exposure and sensor."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oaml_core.decoding.decode import decode_image
from oaml_core.decoding.files import read_image_bytes
from oaml_core.decoding.formats import format_of
from oaml_core.errors import DataError
from oaml_core.restoration.face_tiles import to_tile

RAW_SUFFIXES = frozenset({".dng", ".nef", ".arw", ".cr2", ".cr3", ".raf", ".rw2", ".orf", ".pef", ".srw"})
"""Endings of camera RAW files, in lower case."""
EXPOSURE = re.compile(r"(?:^|_)(\d+(?:\.\d+)?)s(?=_|$)")
"""Exposure time in a name, as in `sony_00017_0.04s_tile_3`."""
_MAKE, _MODEL, _EXIF, _SECONDS, _ISO = 0x010F, 0x0110, 0x8769, 0x829A, 0x8827
"""EXIF tags."""


@dataclass(frozen=True)
class Photograph:
    """One image, and how it was taken."""

    image: Tensor
    """float32 [3, H, W] in [-1, 1]; of a RAW file linear in the light."""
    camera: str
    """Make, model and ISO number; empty: not known."""
    exposure: float | None
    """Seconds; None: not known."""


def read_photograph(path: Path) -> Photograph:
    """Read an image, or a RAW file where the package rawpy is installed.

    Of a RAW file the black level is subtracted, the camera's white balance applied, and each 2 × 2 cell of the colour
    mosaic becomes one pixel: so the noise stays independent from pixel to pixel, as restoration assumes it. Values are
    linear, in the camera's own colours; white is the sensor's saturation.

    Raises:
        DataError: the file cannot be read, or is a RAW file and rawpy is missing.
        ModelInputError: there is no such file.
    """
    data = read_image_bytes(path)
    named = EXPOSURE.search(path.stem)
    if path.suffix.lower() in RAW_SUFFIXES:
        image, exposure, iso = _developed(path, data)
        block = data  # most RAW files are TIFF files, and begin with the tags of one
    else:
        try:
            image, exposure, iso = to_tile(torch.from_numpy(decode_image(data)).permute(2, 0, 1)), None, None
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        block = _exif_block(data)
    tags, more = _tags(block)
    exposure = exposure or _number(more.get(_SECONDS)) or (float(named[1]) if named else None)
    return Photograph(image, _camera(tags, iso or _number(more.get(_ISO))), exposure)


def _developed(path: Path, data: bytes) -> tuple[Tensor, float | None, float | None]:
    try:
        import rawpy
    except ImportError:
        raise DataError(f"{path} is a RAW file. Install the package that reads it: pip install 'oaml[raw]'.") from None
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            developed = raw.postprocess(
                half_size=True,
                use_camera_wb=True,
                no_auto_bright=True,
                gamma=(1, 1),
                output_bps=16,
                output_color=rawpy.ColorSpace.raw,
            )
            exposure, iso = float(raw.other.shutter_speed), float(raw.other.iso_speed)
    except rawpy.LibRawError:
        raise DataError(f"{path} is no RAW file that LibRaw reads. Convert it to DNG or TIFF.") from None
    signal = developed.astype(np.float32) / np.float32(65535)
    return torch.from_numpy(signal * 2 - 1).permute(2, 0, 1), exposure or None, iso or None


def _exif_block(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=(format_of(data) or "JPEG",)) as image:
        block = image.info.get("exif")
        return block if isinstance(block, bytes) else image.getexif().tobytes()


def _tags(block: bytes) -> tuple[dict[int, Any], dict[int, Any]]:
    """Return the main tags and those of the exposure; empty where the block cannot be read."""
    exif = Image.Exif()
    try:
        exif.load(block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block)
        return dict(exif), exif.get_ifd(_EXIF)
    except Exception:  # Pillow raises by the kind of damage, and no camera need be known
        return {}, {}


def _number(value: Any) -> float | None:
    """Return the positive number that a tag holds, the first of several; None: none."""
    try:
        number = float(value[0] if isinstance(value, tuple) else value)
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return number if 0 < number < float("inf") else None


def _camera(tags: dict[int, Any], iso: float | None) -> str:
    words = [str(tags.get(tag) or "").strip("\0 ") for tag in (_MAKE, _MODEL)]
    if words[1].startswith(words[0]):
        words[0] = ""
    return " ".join(word for word in (*words, f"ISO {iso:g}" if iso else "") if word)
