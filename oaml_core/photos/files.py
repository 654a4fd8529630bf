"""Photographs from files: upright, RGB, any format that is decoded."""

from __future__ import annotations

from pathlib import Path

from oaml_core.decoding.files import read_image
from oaml_core.decoding.formats import IMAGE_SUFFIXES, PHONE_SUFFIXES
from oaml_core.errors import ModelInputError
from oaml_core.photos.detection import Photo

ENDINGS = (*sorted(IMAGE_SUFFIXES), *PHONE_SUFFIXES)
"""Endings of files that are taken for photographs in a folder; those that are not decoded are refused by name."""
MIN_SIDE = 16


def load_photo(path: str | Path) -> Photo:
    """Read a photograph through the one decoder; see `oaml_core.decoding.decode.decode_image`.

    Args:
        path: image file.

    Returns:
        uint8 [H, W, 3] RGB, upright.

    Raises:
        ModelInputError: the file cannot be read, see `read_image`, or is smaller than `MIN_SIDE` pixels.
    """
    try:
        photo = read_image(path)
    except ModelInputError as error:
        if Path(path).suffix.lower() not in (".heic", ".heif"):
            raise
        raise ModelInputError(f"{error} Convert HEIC to JPEG first, for example with `pillow-heif`.") from error
    height, width = photo.shape[:2]
    if min(width, height) < MIN_SIDE:
        raise ModelInputError(f"{path} is {width} × {height} pixels; a face needs {MIN_SIDE} at least.")
    return photo
