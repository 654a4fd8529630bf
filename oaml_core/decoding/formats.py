"""Image formats that are read: the one list of them, their largest size, their file endings and their first bytes."""

from __future__ import annotations

import re

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000")
"""Formats that are decoded. Pillow knows more, and runs other programs for some of them."""
MAX_PIXELS = 100_000_000
"""Most pixels of an image; a larger one is refused unread: a few kilobytes can announce gigabytes of pixels."""
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".pgm", ".ppm", ".pbm", ".pnm", ".jp2", ".j2k"}
)
"""Endings of image files, in lower case. The content decides how a file is read, not its ending."""
PHONE_SUFFIXES = (".heic", ".heif", ".avif")
"""Endings of photographs in formats that are not decoded; they are refused by name."""
_PHONE_FORMATS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"crx ": "a raw file of a camera (CR3)",
}
"""Formats of phones and cameras by the brand in their header."""
_FOREIGN = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "a Photoshop file",
    b"%PDF": "PDF",
    b"qoif": "QOI",
    b"\0\0\1\0": "ICO",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "a gzip file",
    b"FUJIFILMCCD-RAW": "a raw file of a camera (RAF)",
    b"IIRO": "a raw file of a camera (ORF)",
    b"IIU\0": "a raw file of a camera (RW2)",
    b"\0\5\x16\7": "an AppleDouble file, which macOS lays beside the image",
}
"""Formats that are not read, by their first bytes."""
_FOREIGN_TEXT = {
    b"version https://git-lfs": "a pointer of Git LFS (`git lfs pull` fetches the file)",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "SVG",
    b"<?xml": "XML or SVG",
}
"""Remains of downloads in place of images, by their first bytes in lower case."""
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"\xff\x4f\xff\x51": "JPEG2000",
    b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a": "JPEG2000",
}
_PORTABLE = re.compile(rb"P(?:[1-6f]|0CMYK|y)[\s#]")
"""Start of the PBM, PGM, PPM and PFM files, which Pillow calls PPM."""


def format_of(data: bytes) -> str | None:
    """Return the name in `FORMATS` of an encoded image by its first bytes; None: it is of no format that is read.

    Args:
        data: the encoded image, or its first 16 bytes.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if _PORTABLE.match(data):
        return "PPM"
    return next((name for start, name in _STARTS.items() if data.startswith(start)), None)


def foreign_format_of(data: bytes) -> str | None:
    """Return what an encoded file is, where that is no image that is read; None for anything else."""
    if data[4:8] == b"ftyp":
        return _PHONE_FORMATS.get(data[8:12], "a video, or a picture of a phone")
    if data[:2] in (b"II", b"MM") and data[8:10] == b"CR":
        return "a raw file of a camera (CR2)"
    head = data[:64].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    found = next((name for start, name in _FOREIGN.items() if data.startswith(start)), None)
    return found or next((name for start, name in _FOREIGN_TEXT.items() if head.startswith(start)), None)
