"""Photographs from files: upright, RGB, any common format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from oaml_core.decoding.decode import MAX_PIXELS
from oaml_core.errors import ModelInputError
from oaml_core.photos.detection import Photo

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")
"""Endings of files that are taken for photographs in a folder; HEIC wants Pillow's plugin."""
MIN_SIDE = 16


def load_photo(path: str | Path) -> Photo:
    """Read a photograph upright, as its EXIF orientation says.

    Grey, 16-bit, CMYK and palette images become RGB; transparent parts become white.

    Args:
        path: JPEG, PNG or what else Pillow reads.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        ModelInputError: the file is missing, empty, damaged, of an unknown format, too small or too large.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ModelInputError(
                    f"{path} is {width} × {height} pixels; at most {MAX_PIXELS // 1_000_000} million are read. "
                    "Scale it down first."
                )
            if min(width, height) < MIN_SIDE:
                raise ModelInputError(f"{path} is {width} × {height} pixels; a face needs {MIN_SIDE} at least.")
            return np.asarray(_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
    except FileNotFoundError as error:
        raise ModelInputError(f"There is no image {path}.") from error
    except Image.DecompressionBombError as error:
        raise ModelInputError(f"{path} announces too many pixels. Scale it down first.") from error
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        if isinstance(error, ModelInputError):
            raise
        hint = (
            " HEIC needs Pillow's plugin: `pip install pillow-heif`."
            if Path(path).suffix.lower() in (".heic", ".heif")
            else ""
        )
        raise ModelInputError(
            f"{path} is not an image that can be read (JPEG, PNG, …), or is damaged.{hint}"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would cut them off at 255
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(1.0, float(values.max()))
        return Image.fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8)).convert("RGB")
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
