"""Headers of the formats that Pillow decodes: size of the picture, and bounds on what is stored around it.

Each reader returns width, height and the kind of pixels (`plain` or `wide`), without decoding anything. Damage that
the decoder finds by itself, at no cost, is left to it: an unknown size is 0 × 0 then.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from oaml_core.amounts import amount
from oaml_core.decoding.formats import MAX_PIXELS
from oaml_core.decoding.tiff_header import read_tiff_header
from oaml_core.errors import OamlError

Pixels = Literal["plain", "wide"]
Size = tuple[int, int, Pixels]
MOST_CHUNKS = 70_000
"""Chunks of a PNG. Encoders cut data into pieces of 8 KiB: this is enough for the largest file that is read."""
DEFLATE = 1032
"""Most bytes that deflate makes of one."""
MOST_COMMENTS = 1 << 20
"""Bytes of comments and extensions before the first picture of a GIF."""
MOST_JPEG2000_TILES = 4_096
MOST_BOXES = 1_000
"""Boxes of a JPEG 2000 file before its picture."""
_CODESTREAM = b"\xff\x4f\xff\x51"
PORTABLE_HEADER = 4096
"""Bytes in which a PBM, PGM, PPM or PFM file must say its size, comments included."""
SLOW_PIXELS = 4_000_000
"""Most pixels of portable maps with unusual largest values, or as text: these are read by the byte."""


class HeaderError(OamlError):
    """A fault of a header; `read_header` adds the name of the image."""


def _png(data: bytes) -> Size:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour = (*data[24:26], 0, 0)[:2]
    position, chunks, stored, transparent = 8, 0, 0, colour in (4, 6)
    while position + 8 <= len(data):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        chunks += 1
        if chunks > MOST_CHUNKS:
            raise HeaderError(f"more than {MOST_CHUNKS:,} chunks")
        if name == b"IDAT":
            stored += min(length, len(data) - position)
        elif name == b"tRNS":
            transparent = True
        elif name == b"IEND":
            break
        position += 12 + length
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    if width * height <= MAX_PIXELS and width * height * channels * depth // 8 > DEFLATE * stored:
        raise HeaderError(f"{amount(stored, 'byte')} cannot hold the {width}×{height} pixels that it announces")
    return width, height, "wide" if transparent or depth == 16 else "plain"


def _bmp(data: bytes) -> Size:
    if int.from_bytes(data[14:18], "little") == 12:
        return int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little"), "plain"
    width = int.from_bytes(data[18:22], "little", signed=True)
    height = int.from_bytes(data[22:26], "little", signed=True)
    return abs(width), abs(height), "wide" if data[28:30] == b"\x20\0" else "plain"


def _webp(data: bytes) -> Size:
    kind, start = data[12:16], data[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(start[4:7], "little"), 1 + int.from_bytes(start[7:10], "little"), "wide"
    if kind == b"VP8L":
        bits = int.from_bytes(start[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), "wide"
    width, height = int.from_bytes(start[6:8], "little"), int.from_bytes(start[8:10], "little")
    return width & 0x3FFF, height & 0x3FFF, "wide"


def _gif(data: bytes) -> Size:
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    flags = data[10] if len(data) > 10 else 0
    position = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    start = position
    while data[position : position + 1] == b"!":
        position += 2
        while length := int.from_bytes(data[position : position + 1], "little"):
            position += 1 + length
            if position - start > MOST_COMMENTS:
                raise HeaderError(f"more than {MOST_COMMENTS:,} bytes of comments before its picture")
        position += 1
        if position - start > MOST_COMMENTS:
            raise HeaderError(f"more than {MOST_COMMENTS:,} bytes of extensions before its picture")
    if data[position : position + 1] == b",":  # the first picture may be larger than the screen
        left, top, across, down = (
            int.from_bytes(data[at : at + 2], "little") for at in range(position + 1, position + 9, 2)
        )
        width, height = max(width, left + across), max(height, top + down)
    return width, height, "wide"


def _portable(data: bytes) -> Size:
    head = re.sub(rb"#[^\r\n]*", b" ", data[:PORTABLE_HEADER]).split(maxsplit=4)
    wanted = 3 if head[0] in (b"P1", b"P4") else 4
    if len(head) < wanted or not all(word.isdigit() and len(word) <= 10 for word in head[1:3]):
        raise HeaderError(f"the first {PORTABLE_HEADER:,} bytes do not say its size")
    width, height = int(head[1]), int(head[2])
    by_the_byte = head[0] in (b"P1", b"P2", b"P3") or (wanted == 4 and head[3] not in (b"255", b"65535"))
    if by_the_byte and head[0] != b"Pf" and width * height > SLOW_PIXELS:
        raise HeaderError(
            f"{width}×{height} pixels as {head[0].decode()} with these values are too many (at most {SLOW_PIXELS:,}); "
            "save it as PNG"
        )
    return width, height, "wide" if wanted == 4 and head[3] != b"255" else "plain"


def _jpeg2000(data: bytes) -> Size:
    start = _codestream(data)
    size = [int.from_bytes(data[at : at + 4], "big") for at in range(start + 8, start + 40, 4)]
    width, height = size[0] - size[2], size[1] - size[3]
    if min(width, height, size[4], size[5]) <= 0:
        raise HeaderError("it has no size")
    tiles = -(-(size[0] - size[6]) // size[4]) * -(-(size[1] - size[7]) // size[5])
    if tiles > MOST_JPEG2000_TILES:
        raise HeaderError(f"{amount(tiles, 'tile')}; at most {MOST_JPEG2000_TILES:,} are read")
    return width, height, "wide"


def _codestream(data: bytes) -> int:
    """Return where the codestream begins, found box by box: metadata may hold another one."""
    if data.startswith(_CODESTREAM):
        return 0
    position = 0
    for _ in range(MOST_BOXES):
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        head = 16 if length == 1 else 8
        length = int.from_bytes(data[position + 8 : position + 16], "big") if length == 1 else length
        if name == b"jp2c":
            return position + head
        if length < head:
            break
        position += length
    raise HeaderError("it has no codestream")


def _tiff(data: bytes) -> Size:
    try:
        return read_tiff_header(data)
    except ValueError as error:
        raise HeaderError(str(error)) from None


READERS: dict[str, Callable[[bytes], Size]] = {
    "PNG": _png,
    "BMP": _bmp,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "PPM": _portable,
    "JPEG2000": _jpeg2000,
}
"""Reader of the header of each format but JPEG."""
