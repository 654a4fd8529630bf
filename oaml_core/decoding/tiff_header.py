"""What a TIFF announces: size and tiles of its first picture, and how much its tables of tags point at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.amounts import amount

MOST_TAGS = 4_096
"""Tags of one table; files have some dozens."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by the number of its type."""
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
_FORMAT, _EXTRA = 339, 338
_SUBFILE, _DNG_VERSION = 254, 50706
_TABLES = (34665, 34853, 40965)
"""Tags that point at further tables of the picture: EXIF, GPS, interoperability."""


@dataclass(frozen=True)
class _Layout:
    """Widths of the numbers in a file's tables: those of TIFF, or of BigTIFF."""

    order: Literal["little", "big"]
    count: int
    """Bytes of the number of tags."""
    offset: int
    """Bytes of an offset and of a number of values."""

    @property
    def entry(self) -> int:
        return 4 + 2 * self.offset


def read_tiff_header(data: bytes) -> tuple[int, int, Literal["plain", "wide"]]:
    """Return width, height and kind of pixels of the first picture.

    A picture whose tiles are larger than itself counts as large as its tiles: the decoder makes room for one.

    Raises:
        ValueError: the first picture is a preview, there are more tags than a picture has, or they point at more bytes
            than the file has.
    """
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    is_big = 43 in data[2:4]
    layout = _Layout(order, 8, 8) if is_big else _Layout(order, 2, 4)
    tables = [int.from_bytes(data[8:16] if is_big else data[4:8], order)]
    tags: dict[int, int] = {}
    pointed, seen = 0, 0
    while tables and seen <= len(_TABLES):
        found, size = _read_table(data, tables.pop(), layout)
        pointed += size
        if pointed > len(data):
            raise ValueError(f"its tags point at {amount(pointed, 'byte')}, it has {len(data):,}")
        tables += [found[tag] for tag in _TABLES if tag in found]
        tags = tags or found
        seen += 1
    if _DNG_VERSION in tags or tags.get(_SUBFILE, 0) & 1:
        raise ValueError("its first picture is a preview, as in raw files of cameras; develop it to JPEG or PNG")
    width, height = tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0)
    if _TILE_WIDTH in tags and _TILE_HEIGHT in tags:
        width, height = _covering(width, height, tags[_TILE_WIDTH], tags[_TILE_HEIGHT])
    is_wide = tags.get(_BITS, 1) > 8 or _EXTRA in tags or tags.get(_FORMAT, 1) != 1
    return width, height, "wide" if is_wide else "plain"


def _covering(width: int, height: int, tile_width: int, tile_height: int) -> tuple[int, int]:
    if tile_width * tile_height <= width * height:
        return width, height
    return max(width, tile_width), max(height, tile_height)


def _read_table(data: bytes, start: int, layout: _Layout) -> tuple[dict[int, int], int]:
    """Return the first value of each tag, or the offset where several are stored, and the bytes of all values."""
    count = int.from_bytes(data[start : start + layout.count], layout.order)
    if count > MOST_TAGS:
        raise ValueError(f"{amount(count, 'tag')}; at most {MOST_TAGS:,} are read")
    found: dict[int, int] = {}
    total = 0
    begin = start + layout.count
    for entry in range(begin, min(begin + count * layout.entry, len(data)), layout.entry):
        tag = int.from_bytes(data[entry : entry + 2], layout.order)
        kind = int.from_bytes(data[entry + 2 : entry + 4], layout.order)
        values = int.from_bytes(data[entry + 4 : entry + 4 + layout.offset], layout.order)
        size = values * _SIZES.get(kind, 0)
        at = entry + 4 + layout.offset
        if size > layout.offset:
            total += size
            at = int.from_bytes(data[at : at + layout.offset], layout.order)
        found[tag] = int.from_bytes(data[at : at + _SIZES.get(kind, 0)], layout.order)
    return found, total
