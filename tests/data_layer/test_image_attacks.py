"""Untrusted images cost bounded memory and time, and every fault of a decoder is a refusal by name."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.decoding.decode import decode_image, decode_mask, decode_picture
from oaml_core.errors import DataError
from tests.data_layer.image_attacks import HARMLESS, encoded, picture

MOST_MIB = 400
"""Peak of a process that decodes all attacks, its libraries included."""
MOST_SECONDS = 60
"""Processor time after which the kernel ends it; it takes about 3 s."""
CHILD = """
import resource, sys
from tests.data_layer.image_attacks import ATTACKS
from oaml_core.decoding.decode import decode_image
from oaml_core.errors import DataError
files = {name: make() for name, make in ATTACKS.items()}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, data in files.items():
    try:
        decode_image(data)
        print("read:", name)
    except DataError as error:
        pass
print("MiB", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def limit_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))


def test_attacks_are_refused_in_bounded_memory_and_time() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=root, capture_output=True, text=True, preexec_fn=limit_time, check=False
    )
    assert done.returncode == 0, done.stderr
    *read, last = done.stdout.splitlines()
    assert not read
    assert int(last.split()[1]) < MOST_MIB


@pytest.mark.parametrize("name", HARMLESS)
def test_first_pictures_are_read_whatever_follows(name: str) -> None:
    assert decode_image(HARMLESS[name]()).shape in ((16, 16, 3), (64, 64, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000"])
def test_every_fault_of_a_decoder_is_a_refusal(kind: str) -> None:
    """Bytes are changed, cut out and doubled, most of them in headers; each file is read or refused by name."""
    chance = random.Random(f"faults of {kind}")
    whole = encoded(picture(32, "P" if kind == "GIF" else "RGB"), kind)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        reach = chance.choice([64, 600, len(data)])
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(min(reach, len(data)))
            change = chance.randrange(4)
            if change == 0:
                del data[at : at + chance.randrange(1, 9)]
            elif change == 1:
                data[at:at] = data[at : at + 16]
            else:
                data[at] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        for read in (decode_image, decode_mask, decode_picture):
            try:
                read(bytes(data))
            except DataError as error:
                assert str(error)  # noqa: PT017  # the message is what is tested, not that there is one
                refused += 1
    assert refused > 0


@pytest.mark.parametrize("kind", ["TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind: str, orientation: int) -> None:
    scene = np.zeros((24, 16, 3), dtype=np.uint8)
    scene[:8, :8] = 250
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    upright = decode_image(encoded(Image.fromarray(scene), "PNG", exif=exif))
    assert (decode_image(encoded(Image.fromarray(scene), kind, exif=exif, **options)) == upright).all()


def test_orientation_of_a_packet_without_exif_is_applied() -> None:
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    data = encoded(Image.new("RGB", (24, 16)), "JPEG", xmp=packet)
    assert decode_image(data).shape == (24, 16, 3)


def test_a_size_that_two_headers_say_differently_is_refused() -> None:
    data = bytearray(encoded(picture(32), "JPEG2000"))
    size = data.index(b"ihdr") + 4
    data[size : size + 8] = (3_000).to_bytes(4, "big") * 2
    with pytest.raises(DataError, match="two sizes"):
        decode_image(bytes(data))
