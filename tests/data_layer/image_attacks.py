"""Hostile image files: small ones that announce large pictures, endless metadata or endless passes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(side: int = 64, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.arange(side * side * 3, dtype=np.uint32).astype(np.uint8).reshape(side, side, 3)).convert(
        mode
    )


def resized_jpeg(width: int, height: int, size: int = 24_000, **options: object) -> bytes:
    """A JPEG whose header announces another size, filled up to `size` bytes."""
    data = bytearray(encoded(picture(), "JPEG", **options))
    frame = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    data[frame : frame + 4] = struct.pack(">HH", height, width)
    return bytes(data[:-2]) + b"\0" * (size - len(data)) + b"\xff\xd9"


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


def many_segments(count: int) -> bytes:
    data = encoded(picture(), "JPEG")
    return data[:2] + b"\xff\xfe\0\2" * count + data[2:]


def exif_flood() -> bytes:
    """EXIF tags that each point at the whole block."""
    count = 5_000
    entries = b"".join(struct.pack("<HHII", 0x9000 + tag, 7, 60_000, 8) for tag in range(count))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + b"\0\0\0\0"
    data = encoded(picture(), "JPEG")
    segment = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def in_png(extra: bytes) -> bytes:
    data = encoded(picture(), "PNG")
    return data[:33] + extra + data[33:]


def bomb(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(megabytes)) + packer.flush()


def hollow_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bomb(1)[:24_000]) + chunk(b"IEND", b"")


def tiff(tags: list[tuple[int, int, int, int]], rest: int = 0) -> bytes:
    """A grey TIFF of 16×16 pixels with further tags: number, type, count, value or offset."""
    plain = [(256, 3, 1, 16), (257, 3, 1, 16), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    plain += [(273, 4, 1, 8), (277, 3, 1, 1), (279, 4, 1, 256)]
    every = sorted({tag[0]: tag for tag in [*plain, *tags]}.values())
    table = struct.pack("<H", len(every)) + b"".join(struct.pack("<HHII", *tag) for tag in every) + b"\0\0\0\0"
    return b"II*\0" + struct.pack("<I", 264) + bytes(256) + table + bytes(rest)


def gif_comments(count: int) -> bytes:
    data = encoded(picture(mode="P"), "GIF")
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    return data[:start] + b"!\xfe" + (b"\xff" + b"x" * 255) * count + b"\0" + data[start:]


def large_webp() -> bytes:
    size = (16_383).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + size
    still = encoded(picture(), "WEBP", lossless=True)
    content += still[12:]
    return b"RIFF" + struct.pack("<I", len(content)) + content


def many_tiles() -> bytes:
    data = bytearray(encoded(picture(), "JPEG2000", no_jp2=True))
    data[8:16] = struct.pack(">II", 250, 250)
    data[24:32] = struct.pack(">II", 1, 1)
    return bytes(data)


ATTACKS: dict[str, Callable[[], bytes]] = {
    "JPEG of 24 kB, 80 megapixels": lambda: resized_jpeg(10_000, 8_000),
    "progressive JPEG of 24 kB": lambda: resized_jpeg(10_000, 8_000, progressive=True),
    "CMYK JPEG of 24 kB": lambda: encoded_cmyk(),
    "JPEG with 300 scans": lambda: many_scans(2_000, 300),
    "JPEG with 150 scans of 16 megapixels": lambda: many_scans(4_000, 150),
    "JPEG with 300,000 segments": lambda: many_segments(300_000),
    "PNG of 24 kB, 80 megapixels": lambda: hollow_png(10_000, 8_000),
    "PNG with 1,000,000 chunks": lambda: in_png(chunk(b"abCd", b"") * 1_000_000),
    "PNG with a bomb of text": lambda: in_png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(64))),
    "PNG with a bomb of a profile": lambda: in_png(chunk(b"iCCP", b"a\0\0" + bomb(64))),
    "TIFF with tags on each other": lambda: tiff([(60_000 + tag, 7, 400_000, 0) for tag in range(4_000)], 400_000),
    "TIFF with 60,000 tags": lambda: tiff([(1_000 + tag, 3, 1, 0) for tag in range(60_000)]),
    "TIFF with one tile of 1.6 GB": lambda: tiff(
        [(259, 3, 1, 5), (322, 4, 1, 40_000), (323, 4, 1, 40_000), (324, 4, 1, 8), (325, 4, 1, 256)]
    ),
    "TIFF with EXIF tags on each other": lambda: nested_tiff(),
    "GIF with 20 MB of comments": lambda: gif_comments(80_000),
    "WebP with a canvas of 268 megapixels": large_webp,
    "JPEG 2000 with 62,500 tiles": many_tiles,
    "portable map, 60 megapixels of 200 levels": lambda: b"P6 10000 6000 200 " + bytes(6_000_000),
    "portable map with a comment of 20 MB": lambda: b"P6 #" + b"x" * 20_000_000 + b"\n4 4 255 " + bytes(48),
}
"""Files that must be refused, by what is wrong with them."""
HARMLESS: dict[str, Callable[[], bytes]] = {
    "JPEG with EXIF tags that point at everything": exif_flood,
    "TIFF with 61 pages": lambda: encoded(picture(16), "TIFF", save_all=True, append_images=[picture(16)] * 60),
    "GIF with 500 pictures": lambda: encoded(
        picture(16, "P"),
        "GIF",
        save_all=True,
        append_images=[Image.new("RGB", (16, 16), (n % 250, 0, 0)) for n in range(500)],
    ),
    "APNG with 500 pictures": lambda: encoded(
        picture(16),
        "PNG",
        save_all=True,
        append_images=[Image.new("RGB", (16, 16), (n % 250, 0, 0)) for n in range(500)],
    ),
}
"""Files that look like attacks, and are read at the cost of one picture."""


def encoded_cmyk() -> bytes:
    data = bytearray(encoded(picture(mode="CMYK"), "JPEG"))
    frame = data.find(b"\xff\xc0") + 5
    data[frame : frame + 4] = struct.pack(">HH", 8_000, 10_000)
    return bytes(data)


def nested_tiff() -> bytes:
    """A TIFF whose EXIF table points at all of the file, thousands of times."""
    data = tiff([(34_665, 4, 1, 0)])
    start = len(data)
    data = tiff([(34_665, 4, 1, start)])
    table = struct.pack("<H", 4_000)
    table += b"".join(struct.pack("<HHII", 40_000 + tag, 7, 300_000, 0) for tag in range(4_000)) + b"\0\0\0\0"
    return data + table + bytes(300_000)
