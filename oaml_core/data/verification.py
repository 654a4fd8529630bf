"""Verification sets: pairs of faces with the truth, from InsightFace `.bin` files or pair lists, and as memfiles.

A `.bin` is a pickle of (2N encoded images, N booleans); pairs are images 0-1, 2-3, …. A pair list is
`<name>_pairs.csv` with the columns `first,second,same`: two image paths, relative to the list's folder, and 1 or 0.
Landmarks are taken from `<name>_meta.json` beside either: `{"pairs": [[first, second], …], "landmarks":
{image name: [[x, y] × 5], …}}`, in pixels of the image.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.decode import decode_image, fit_square
from oaml_core.data.memfile import MemfileWriter, open_memfile
from oaml_core.data.restricted_pickle import BytesAt, PlainArray, read_plain_pickle
from oaml_core.errors import DataError

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
PAIRS_SUFFIX = "_pairs.csv"


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

    def __len__(self) -> int:
        return len(self.issame)


@dataclass(frozen=True)
class VerificationSource:
    """A verification set as its owner has it: encoded images, read one at a time."""

    name: str
    path: Path
    issame: Bools
    """bool [N]"""
    landmarks: Floats | None
    """float32 [2N, 5, 2] in pixels of the encoded images, or None."""
    read_images: Callable[[], Iterator[bytes]]
    """The 2N encoded images in order, from the disk."""

    def __len__(self) -> int:
        return len(self.issame)


def find_verification_sources(folder: Path) -> dict[str, Path]:
    """Names and files of the verification sets in a folder and in its `verification/`: every `.bin`, every pair list."""
    found: dict[str, Path] = {}
    for place in (folder, folder / "verification"):
        for path in sorted([*place.glob("*.bin"), *place.glob(f"*{PAIRS_SUFFIX}")]):
            name = path.stem if path.suffix == ".bin" else path.name.removesuffix(PAIRS_SUFFIX)
            if name in found:
                raise DataError(f"{path} and {found[name]} are both the verification set {name!r}; rename one.")
            found[name] = path
    return found


def open_verification_source(name: str, path: Path) -> VerificationSource:
    """Read what the set consists of, but no image.

    Raises:
        DataError: the file is damaged, holds something else, or asks to run something.
    """
    if path.suffix == ".bin":
        images, issame = _read_bin(path)
        return VerificationSource(
            name, path, issame, _landmarks(name, path, issame), lambda: _bin_images(path, images)
        )
    pairs, issame = _read_pairs(path)
    return VerificationSource(
        name, path, issame, _landmarks(name, path, issame), lambda: _files(path.parent, pairs)
    )


def _read_bin(path: Path) -> tuple[list[BytesAt | PlainArray | bytes], Bools]:
    content = read_plain_pickle(path)
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise DataError(f"{path} is no verification set: it must hold (images, issame), and nothing else.")
    images, truth = content
    if isinstance(truth, PlainArray):
        with path.open("rb") as file:
            truth = truth.read(file).tolist()
    if not isinstance(images, list) or not all(isinstance(x, (BytesAt, PlainArray, bytes)) for x in images):
        raise DataError(f"{path} is no verification set: its first part must be a list of encoded images.")
    with path.open("rb") as file:
        flags = [x.read(file).item() if isinstance(x, PlainArray) else x for x in truth]
    if not all(flag in (0, 1) for flag in flags):
        raise DataError(f"{path} is no verification set: its second part must be a list of booleans.")
    if not flags or len(images) != 2 * len(flags):
        raise DataError(
            f"{path} holds {len(images)} images for {len(flags)} pairs; each pair needs two: copy the file again."
        )
    return images, np.array(flags, dtype=bool)


def _bin_images(path: Path, images: list[BytesAt | PlainArray | bytes]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for image in images:
            yield _image_bytes(file, image)


def _image_bytes(file: BinaryIO, image: BytesAt | PlainArray | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    data = image.read(file)
    return data if isinstance(data, bytes) else data.tobytes()


def _read_pairs(path: Path) -> tuple[list[str], Bools]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"first", "second", "same"} <= set(rows[0]):
        raise DataError(f"{path} must have the columns first,second,same and at least one pair.")
    for number, row in enumerate(rows, start=2):
        if row["same"] not in ("0", "1"):
            raise DataError(f"{path} line {number}: `same` is {row['same']!r}; write 1 or 0.")
    names = [row[column] for row in rows for column in ("first", "second")]
    return names, np.array([row["same"] == "1" for row in rows])


def _files(folder: Path, names: list[str]) -> Iterator[bytes]:
    for name in names:
        try:
            yield (folder / name).read_bytes()
        except OSError as error:
            raise DataError(f"{folder / name} cannot be read: {error.strerror}.") from None


def _landmarks(name: str, path: Path, issame: Bools) -> Floats | None:
    meta_path = path.parent / f"{name}_meta.json"
    if not meta_path.is_file():
        return None
    try:
        meta = json.loads(meta_path.read_text())
        names = [image for pair in meta["pairs"] for image in pair]
        unknown = np.full((5, 2), np.nan)
        points = np.array([meta["landmarks"].get(image, unknown) for image in names], dtype=np.float32)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{meta_path} cannot be used ({error}); it needs `pairs` and `landmarks`.") from None
    if points.shape != (2 * len(issame), 5, 2):
        raise DataError(f"{meta_path} has landmarks for {len(points)} images, {path.name} has {2 * len(issame)}.")
    return points


Watcher = Callable[[int, bytes, NDArray[np.uint8]], None]


def write_verification(
    source: VerificationSource,
    folder: Path,
    *,
    image_size: int,
    channel_order: Literal["rgb", "bgr"] = "rgb",
    watch: Watcher | None = None,
) -> None:
    """Decode a set into `<name>.dat`, `<name>.dat.conf`, `<name>_list.npy` (issame), `<name>_landmarks.npy`.

    One image is in memory at a time.

    Args:
        watch: is shown (number, encoded, RGB image as written) of each image.

    Raises:
        DataError: an image cannot be read; a set with missing images would give other numbers than the published
            protocol, so nothing is written.
    """
    scale = np.ones(2 * len(source), dtype=np.float32)
    shape = (2 * len(source), image_size, image_size, 3)
    with MemfileWriter(folder / f"{source.name}.dat", shape) as memfile:
        for number, encoded in enumerate(source.read_images()):
            try:
                decoded = decode_image(encoded, channel_order)
                image = fit_square(decoded, image_size)
            except DataError as error:
                raise DataError(
                    f"{source.path}: image {number} (pair {number // 2}) is unusable: {error}. "
                    "Copy the file again, or remove it to go on without this set."
                ) from None
            scale[number] = image_size / decoded.shape[0]
            memfile.write(image)
            if watch is not None:
                watch(number, encoded, image)
    np.save(folder / f"{source.name}_list.npy", source.issame)
    if source.landmarks is not None:
        np.save(folder / f"{source.name}_landmarks.npy", source.landmarks * scale[:, None, None])


def open_verification(folder: Path, name: str) -> VerificationSet:
    """A prepared set; raises DataError where its files are missing or do not fit together."""
    images = open_memfile(folder / f"{name}.dat")
    truth = folder / f"{name}_list.npy"
    points = folder / f"{name}_landmarks.npy"
    try:
        issame = np.load(truth)
        landmarks = np.load(points) if points.is_file() else None
    except (OSError, ValueError) as error:
        raise DataError(f"{truth} cannot be read ({error}); prepare the data set again.") from None
    if len(images) != 2 * len(issame):
        raise DataError(f"{name}.dat has {len(images)} images for {len(issame)} pairs; prepare the data set again.")
    return VerificationSet(name, images, issame, landmarks)
