"""Image files through the one decoder."""

from __future__ import annotations

from pathlib import Path

from oaml_core.decoding.decode import Image8, decode_image
from oaml_core.errors import DataError, ModelInputError


def read_image(path: str | Path) -> Image8:
    """Read an image file as uint8 [H, W, 3] RGB, upright; see `decode_image`.

    Args:
        path: an image of one of `oaml_core.decoding.decode.FORMATS`.

    Raises:
        ModelInputError: the file is missing, no regular file, not readable, or not an image that is decoded.
    """
    path = Path(path)
    if not path.exists():
        raise ModelInputError(f"There is no image {path}.")
    if not path.is_file():
        raise ModelInputError(f"{path} is not an image that can be read, or is damaged: it is no regular file.")
    try:
        return decode_image(path.read_bytes())
    except DataError as error:
        raise ModelInputError(f"{path} is not an image that can be read, or is damaged: {error}.") from error
    except OSError as error:
        raise ModelInputError(f"{path} cannot be read: {error.strerror}.") from error
