"""The orientation of a picture from its metadata, with work bounded by one pass over one table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

ORIENTATION = 0x0112
"""EXIF tag of the turn that brings a picture upright."""
_SHORT, _LONG = 3, 4
_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")
_PROFILE = "Raw profile type exif"
"""Text of PNG files in which ImageMagick keeps an EXIF block, as hexadecimal digits after three lines."""


def exif_orientation(block: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 0 where an EXIF block has none or cannot be read.

    Only the first table of tags is looked at, and nothing that it points at is read.

    Args:
        block: an EXIF block from its byte order (`II` or `MM`) on.
    """
    order: Literal["little", "big"] | None = "little" if block[:2] == b"II" else "big" if block[:2] == b"MM" else None
    if order is None:
        return 0

    def number(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], order)

    table = number(4, 4)
    for entry in range(table + 2, table + 2 + 12 * number(table, 2), 12):
        if entry + 12 > len(block):
            break
        if number(entry, 2) == ORIENTATION:
            kind = number(entry + 2, 2)
            value = number(entry + 8, 2 if kind == _SHORT else 4) if kind in (_SHORT, _LONG) else 0
            return value if 1 <= value <= 8 else 0
    return 0


def xmp_orientation(packet: bytes) -> int:
    """Return the orientation, 1 to 8, that an XMP packet states; 0 where it states none."""
    stated = _XMP.search(packet)
    return int(stated[1]) if stated else 0


def orientation_of(info: Mapping[Any, Any]) -> int:
    """Return the orientation, 1 to 8, that the metadata of a loaded Pillow image states: EXIF first, then XMP.

    Args:
        info: `Image.info`.
    """
    block = info.get("exif")
    if not block and isinstance(text := info.get(_PROFILE), str):
        block = _from_profile(text)
    packet = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    packet = packet if isinstance(packet, bytes) else str(packet).encode()
    found = exif_orientation(block.removeprefix(b"Exif\0\0")) if isinstance(block, bytes) else 0
    return found or xmp_orientation(packet) or 1


def _from_profile(text: str) -> bytes:
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""
