"""Headers of images, read and judged before anything is decoded: the guard of every reader of images.

A small file can announce a large picture, or metadata that takes gigabytes or minutes. Bounds are stated here, and
`read_header` refuses by name what exceeds them, so that decoding what it admits takes at most `MOST_MEMORY` beside
the file itself.

The images of a data set come from one encoder, whose headers are the same byte for byte. A JPEG that begins with the
very bytes of a header that was admitted is compared with those, not taken apart once more.
"""

from __future__ import annotations

from typing import NamedTuple

from oaml_core.amounts import amount
from oaml_core.decoding import other_headers
from oaml_core.decoding.formats import FORMATS, MAX_PIXELS, foreign_format_of, format_of
from oaml_core.decoding.jpeg_header import JpegHeader, read_jpeg_header, refuse_hollow_jpeg
from oaml_core.errors import DataError

MOST_MEMORY = 1 << 30
"""Bytes that decoding one image may take beside the file."""
MOST_BYTES = 1 << 29
"""Size of the largest image file."""
JPEG_COST, TURNED_COST = 3, 6
"""Bytes per pixel of a decoded JPEG, and while it is turned upright."""
PILLOW_COST = {"plain": 16, "wide": 29}
"""Bytes per pixel while Pillow's image becomes an array: 8-bit, and with transparency, 16 bits or floats."""
KEPT_HEADERS = 4
"""JPEG headers that a process keeps: data sets have one, or one per encoder."""
MOST_KEPT_BYTES = 1024
"""Bytes of the longest header that is kept; without metadata JPEGs have some six hundred."""


class Header(NamedTuple):
    """Format and size of an encoded image."""

    format: str
    """Name of the format, one of `FORMATS`."""
    width: int
    height: int
    """In pixels, as stored: before the picture is turned upright."""
    jpeg: JpegHeader | None = None
    """More about a JPEG."""


_admitted: tuple[tuple[bytes, Header], ...] = ()
"""Starts of JPEGs and what they announce, the latest first. Replaced as a whole: threads read it without a lock."""
OTHER_FORMAT = "that is read"
"""Ends the reason why a whole file is refused that is of another format than those which are read."""


def read_header(data: bytes, what: str = "image") -> Header:
    """Return format and size of an image, if it may be decoded.

    Args:
        data: the encoded image.
        what: how messages call it.

    Raises:
        DataError: it is empty, of no format of `FORMATS`, announces a picture above the bounds of this module, or
            metadata out of all proportion.
    """
    if not data:
        raise DataError(f"the {what} is empty (0 bytes)")
    for start, header in _admitted:
        if data.startswith(start) and len(data) <= MOST_BYTES and header.jpeg is not None:
            refuse_hollow_jpeg(header.jpeg, len(data))
            return header
    if name := foreign_format_of(data):
        if name.startswith(("a ", "an ")):
            raise DataError(f"it is {name}, no {what} {OTHER_FORMAT}")
        raise DataError(f"{name} is not a format {OTHER_FORMAT}; save the {what} as JPEG or PNG")
    kind = format_of(data)
    if kind is None:
        raise DataError(f"unreadable {what}: it is damaged, or none of {', '.join(FORMATS)}")
    if len(data) > MOST_BYTES:
        raise DataError(f"the {what} has {amount(len(data), 'byte')}; at most {MOST_BYTES:,} are read")
    if kind == "JPEG":
        return _jpeg(data)
    try:
        width, height, cost = other_headers.READERS[kind](data)
    except other_headers.HeaderError as error:
        raise DataError(f"unreadable {what}: {error}") from None
    _refuse_large(width, height, PILLOW_COST[cost] * width * height)
    return Header(kind, width, height)


def _jpeg(data: bytes) -> Header:
    found = read_jpeg_header(data)
    pixels = found.width * found.height
    cost = JPEG_COST * pixels
    if found.components == 4:  # Pillow decodes those
        cost = PILLOW_COST["plain"] * pixels
    elif found.orientation != 1:
        cost = TURNED_COST * pixels
    _refuse_large(found.width, found.height, cost + 2 * found.coefficients * found.buffered)
    refuse_hollow_jpeg(found, len(data))
    header = Header("JPEG", found.width, found.height, found)
    if found.width and found.height and 0 < found.decided_by <= MOST_KEPT_BYTES:
        global _admitted
        _admitted = ((data[: found.decided_by], header), *_admitted[: KEPT_HEADERS - 1])
    return header


def _refuse_large(width: int, height: int, memory: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{width}×{height} pixels are too many (at most {MAX_PIXELS:,}); is this a face crop?")
    if memory > MOST_MEMORY:
        raise DataError(
            f"{width}×{height} pixels are too many for an image of this kind: decoding takes {memory >> 20:,} MiB, at "
            f"most {MOST_MEMORY >> 20:,} are used. Save it smaller, or as a baseline JPEG"
        )
