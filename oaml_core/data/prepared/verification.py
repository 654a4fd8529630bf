"""Prepared verification sets: pairs of faces with the truth, as memfiles."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.array_files import read_array
from oaml_core.data.prepared.memfile import MemfileWriter, conf_path, open_memfile
from oaml_core.data.sources.verification_source import Bools, Floats, VerificationSource
from oaml_core.decoding.decode import decode_image, fit_square
from oaml_core.errors import DataError


@dataclass(frozen=True)
class VerificationSet:
    """A prepared verification set, opened read-only."""

    name: str
    images: np.memmap[Any, Any]
    """uint8 [2N, H, W, 3], RGB; pairs are rows 0-1, 2-3, …"""
    issame: Bools
    """bool [N]: True for a genuine pair."""
    landmarks: Floats | None
    """float32 [2N, 5, 2] in pixels (left eye, right eye, nose, mouth corners), or None. NaN: not known."""
    identities: NDArray[np.int64] | None = None
    """int64 [2N]: number of the person whom each image shows, or None: not known."""

    def __len__(self) -> int:
        return len(self.issame)


Watcher = Callable[[str, int, bytes, NDArray[np.uint8]], None]


def write_verification(
    source: VerificationSource,
    folder: Path,
    *,
    image_size: int,
    channel_order: Literal["rgb", "bgr"] = "rgb",
    watch: Watcher | None = None,
) -> list[Path]:
    """Decode a set into `<name>.dat`, `<name>.dat.conf`, `<name>_list.npy` (issame), `<name>_landmarks.npy`,
    `<name>_identities.npy`, and `<name>_people.json` where the source names the people.

    One image is in memory at a time. Returns the files written.

    Args:
        watch: is shown (name of the set, number, encoded, RGB image as written) of each image.

    Raises:
        DataError: an image cannot be read; a set with missing images would give other numbers than the published
            protocol, so nothing is written.
    """
    scale = np.ones(2 * len(source), dtype=np.float32)
    shape = (2 * len(source), image_size, image_size, 3)
    with MemfileWriter(folder / f"{source.name}.dat", shape) as memfile:
        for number, encoded in enumerate(source.read_images()):
            try:
                decoded = decode_image(encoded, source.channel_order or channel_order)
                image = fit_square(decoded, image_size)
            except DataError as error:
                raise source.unusable(number, error) from None
            scale[number] = image_size / decoded.shape[0]
            memfile.write(image)
            if watch is not None:
                watch(source.name, number, encoded, image)
    written = [memfile.path, conf_path(memfile.path), folder / f"{source.name}_list.npy"]
    np.save(written[-1], source.issame)
    landmarks = source.landmarks()
    if landmarks is not None:
        written.append(folder / f"{source.name}_landmarks.npy")
        np.save(written[-1], landmarks * scale[:, None, None])
    if source.identities is not None:
        written.append(folder / f"{source.name}_identities.npy")
        np.save(written[-1], source.identities)
        if source.people:
            written.append(people_file(folder, source.name))
            written[-1].write_text(json.dumps({str(number): name for number, name in sorted(source.people.items())}))
    return written


def people_file(folder: Path, name: str) -> Path:
    """Return the file with the names of a set's people by their numbers; there where the source told them."""
    return folder / f"{name}_people.json"


def files_of(folder: Path, name: str) -> list[Path]:
    """Return the files of a prepared set that are there, the memfile and its description first."""
    images = folder / f"{name}.dat"
    arrays = [folder / f"{name}_{what}.npy" for what in ("list", "landmarks", "identities")]
    return [path for path in (images, conf_path(images), *arrays, people_file(folder, name)) if path.is_file()]


def open_verification(folder: Path, name: str) -> VerificationSet:
    """Return a prepared set; raises DataError where its files are missing or do not fit together."""
    images = open_memfile(folder / f"{name}.dat")
    truth = folder / f"{name}_list.npy"
    points, people = folder / f"{name}_landmarks.npy", folder / f"{name}_identities.npy"
    issame = _array(truth)
    landmarks, identities = (_array(path) if path.is_file() else None for path in (points, people))
    if issame.ndim != 1 or issame.dtype != np.bool_:
        raise DataError(f"{truth} holds no true or false per pair; prepare the data set again.")
    if len(images) != 2 * len(issame):
        raise DataError(
            f"{name}.dat has {amount(len(images), 'image')} for {amount(len(issame), 'pair')}; prepare the data "
            "set again."
        )
    return VerificationSet(name, images, issame, landmarks, identities)


def _array(path: Path) -> NDArray[Any]:
    return read_array(path, str(path), "Prepare the data set again.", DataError)
