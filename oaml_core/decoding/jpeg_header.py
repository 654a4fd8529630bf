"""Size, scans and orientation of a JPEG, read without decoding anything."""

from __future__ import annotations

import re
from dataclasses import dataclass

from oaml_core.amounts import amount
from oaml_core.decoding.exif import exif_orientation, xmp_orientation
from oaml_core.errors import DataError

MOST_SCANS = 200
"""Passes over the picture; cameras and encoders write at most a dozen or two."""
MOST_SCANNED = 1_500_000_000
"""Scans times pixels: each scan of a progressive JPEG goes over all of the picture, even if it holds nothing."""
MOST_SEGMENTS = 10_000
"""Segments of metadata and tables."""
BLOCK = 8
"""Side of a block of coefficients in pixels."""
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_END, _SCAN, _METADATA = 0xD9, 0xDA, 0xE1
_EXIF_START, _XMP_START = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_LONE_MARKERS = frozenset({0x01, 0xD8})
"""Markers without a length after them."""


@dataclass(slots=True)
class JpegHeader:
    """A JPEG's announcement of itself."""

    width: int = 0
    height: int = 0
    """In pixels, before it is turned upright; both 0 where there is no frame."""
    components: int = 0
    scans: int = 0
    orientation: int = 1
    """EXIF orientation, 1 to 8: that of the EXIF block, or else of the XMP packet."""
    buffered: bool = False
    """True where the decoder keeps all coefficients, as it must for several scans."""
    coefficients: int = 0
    """Coefficients of all components, 2 bytes each."""
    blocks: int = 0
    """Blocks of the largest component, each of which takes one bit of the file at least; 0: not known."""
    decided_by: int = 0
    """Bytes from the start of the file that decide all of this: another file that begins with them announces the same.
    0: not known, or the file holds metadata, which are one picture's alone."""


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Return what a JPEG announces.

    Raises:
        DataError: there are more scans or segments than an image has, or more data announced than the file can hold.
    """
    header = JpegHeader()
    position, segments, stated, by_xmp, is_bare = 2, 0, 0, 0, True
    while found := _MARKER.search(data, position):
        position, marker = found.end(), data[found.end() - 1]
        if marker == _END:
            break
        if marker in _LONE_MARKERS:
            continue
        segments += 1
        if segments > MOST_SEGMENTS:
            raise DataError(f"damaged JPEG: it has more than {MOST_SEGMENTS:,} segments")
        length = int.from_bytes(data[position : position + 2], "big")
        if marker in _FRAMES and not header.width:
            _read_frame(header, marker, data[position : position + length])
        elif marker == _METADATA:
            is_bare = False
            content = data[position + 2 : position + length]
            if content.startswith(_EXIF_START):
                stated = stated or exif_orientation(content[len(_EXIF_START) :])
            elif content.startswith(_XMP_START):
                by_xmp = by_xmp or xmp_orientation(content)
        elif marker == _SCAN:
            header.scans += 1
            if header.scans > MOST_SCANS:
                raise DataError(f"damaged JPEG: it has more than {MOST_SCANS} scans")
            if not header.buffered and data[position + 2 : position + 3] == bytes([header.components]):
                header.decided_by = position + 3 if is_bare else 0
                break  # one scan has everything
            header.buffered = True
        position += length
    header.orientation = stated or by_xmp or 1
    return header


def refuse_hollow_jpeg(header: JpegHeader, size: int) -> None:
    """Refuse a JPEG that announces more work, or a larger picture, than a file of `size` bytes describes.

    Args:
        header: of a picture whose size is admitted.
        size: bytes of the file.

    Raises:
        DataError: it is cut off, or its scans go over more pixels than `MOST_SCANNED`.
    """
    if header.scans * header.width * header.height > MOST_SCANNED:
        raise DataError(
            f"damaged JPEG: {header.scans} scans of {header.width}×{header.height} pixels; save it as a baseline JPEG"
        )
    if header.blocks > 8 * size:
        raise DataError(
            f"damaged JPEG: {amount(size, 'byte')} cannot hold the {header.width}×{header.height} pixels that it "
            "announces"
        )


def _read_frame(header: JpegHeader, marker: int, frame: bytes) -> None:
    """Take size and components from a frame header, which begins with its length."""
    if len(frame) < 8:
        return  # the decoder says what is wrong with it
    header.height, header.width = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[5:7], "big")
    header.components = frame[7]
    header.buffered = marker in _PROGRESSIVE_FRAMES
    sampling = [(byte >> 4, byte & 15) for byte in frame[9 : 8 + 3 * frame[7] : 3]]
    across, down = max((h for h, _ in sampling), default=0), max((v for _, v in sampling), default=0)
    if not across or not down:
        return
    blocks = [-(-header.width * h // (across * BLOCK)) * -(-header.height * v // (down * BLOCK)) for h, v in sampling]
    header.coefficients = sum(blocks) * BLOCK * BLOCK
    if marker in _HUFFMAN_FRAMES:
        header.blocks = max(blocks)
