"""Image files through the one decoder: regular files alone, of bounded size."""

from __future__ import annotations

from pathlib import Path

from oaml_core.decoding.decode import Image8, decode_image
from oaml_core.decoding.header import MOST_BYTES
from oaml_core.errors import DataError, ModelInputError
from oaml_core.folder_entries import NoRegularFile, read_regular, shown


def read_image(path: str | Path) -> Image8:
    """Read an image file as uint8 [H, W, 3] RGB, upright; see `decode_image`.

    Args:
        path: an image of one of `oaml_core.decoding.decode.FORMATS`.

    Raises:
        ModelInputError: the file is missing, no regular file, not readable, or not an image that is decoded.
    """
    try:
        return decode_image(read_image_bytes(path))
    except DataError as error:
        raise ModelInputError(f"{shown(path)} is not an image that can be read, or is damaged: {error}.") from error


def read_image_bytes(path: str | Path) -> bytes:
    """Return the bytes of an image file, not decoded.

    Args:
        path: regular file of at most `oaml_core.decoding.header.MOST_BYTES`.

    Raises:
        ModelInputError: the file is missing, no regular file, too large, or not readable.
    """
    try:
        return read_regular(Path(path), MOST_BYTES)
    except FileNotFoundError:
        raise ModelInputError(f"There is no image {shown(path)}.") from None
    except NoRegularFile as error:
        reason = f"{shown(path)} is not an image that can be read, or is damaged: {error.strerror}."
        raise ModelInputError(reason) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelInputError(f"{shown(path)} cannot be read: {reason}.") from error
