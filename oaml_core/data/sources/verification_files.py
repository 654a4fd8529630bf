"""Verification sets as files of pairs: InsightFace's `.bin`, pair lists, and LFW's `pairs.txt`.

A `.bin` is a pickle of (2N encoded images, N booleans); pairs are images 0-1, 2-3, …. A pair list is
`<name>_pairs.csv` with the columns `first,second,same`: two image paths, relative to the list's folder, and 1 or 0.
Landmarks are taken from `<name>_meta.json` beside either: `{"pairs": [[first, second], …], "landmarks":
{image name: [[x, y] × 5], …}}`, in pixels of the image.
LFW's own `pairs.txt` is read as it is. Where images lie in one folder per identity, those names say
who is in the pairs.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount, first_of
from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.lfw import LFW_LISTS, read_lfw_pairs
from oaml_core.data.sources.pickled_values import BytesAt, PlainArray
from oaml_core.data.sources.repeated_pairs import ListedPairs, once
from oaml_core.data.sources.restricted_pickle import read_plain_pickle
from oaml_core.data.sources.text import read_table
from oaml_core.data.sources.verification_source import TRUTH, Bools, Floats, VerificationSource
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown
from oaml_core.structured_text import check_types, parse_json

PAIRS_SUFFIX = "_pairs.csv"


def open_file_set(folder: SourceFolder, name: str, file: str) -> VerificationSource:
    """Read what a set consists of, but no image.

    Raises:
        DataError: the file is damaged, holds something else, or asks to run something.
    """
    meta = PurePosixPath(file).with_name(f"{name}_meta.json").as_posix()
    if file.lower().endswith(".bin"):
        path = folder.local(file)
        with _reading_bin(folder, file):
            images, issame = _read_bin(path)
        landmarks = _landmarks(folder, meta, issame)
        return VerificationSource(
            name,
            folder.where(file),
            issame,
            lambda: landmarks,
            lambda: _bin_images(folder, file, images),
            (people := _people(names := _names_in(folder, meta), issame)),
            people=_names_of_people(names, people),
            used=(file, meta),
        )
    lfw = PurePosixPath(file).name in LFW_LISTS
    listed = read_lfw_pairs(folder, file) if lfw else _read_pairs(folder, file)
    kept, warnings = once(listed, folder.where(file))
    images_kept = np.stack([2 * kept, 2 * kept + 1], axis=1).ravel()
    names, issame = [listed.names[image] for image in images_kept], listed.issame[kept]
    points = _landmarks(folder, meta, listed.issame)
    landmarks = None if points is None else points[images_kept]
    return VerificationSource(
        name,
        folder.where(file),
        issame,
        lambda: landmarks,
        lambda: (folder.read(image) for image in names),
        (people := _people(names, issame)),
        names,
        _names_of_people(names, people),
        used=(file, meta, *names),
        warnings=warnings,
    )


def _read_bin(path: Path) -> tuple[list[BytesAt | PlainArray | bytes], Bools]:
    content = read_plain_pickle(path)
    if not isinstance(content, (tuple, list)) or len(content) != 2:
        raise DataError(f"{path} is no verification set: it must hold (images, issame), and nothing else.")
    images, truth = content
    if not isinstance(images, list) or not all(isinstance(x, (BytesAt, PlainArray, bytes)) for x in images):
        raise DataError(f"{path} is no verification set: its first part must be a list of encoded images.")
    flags = _flags(path, truth)
    if flags is None:
        raise DataError(f"{path} is no verification set: its second part must be a list of booleans.")
    if not flags or len(images) != 2 * len(flags):
        raise DataError(
            f"{path} holds {amount(len(images), 'image')} for {amount(len(flags), 'pair')}; each pair needs two: "
            "copy the file again."
        )
    return images, np.array(flags, dtype=bool)


def _flags(path: Path, truth: Any) -> list[bool] | None:
    """Return the truth of each pair from a list of booleans or of 0 and 1, or from an array; None if it is none of
    them.
    """
    with path.open("rb") as file:
        if isinstance(truth, PlainArray):
            truth = truth.read(file).tolist()
        if not isinstance(truth, (list, tuple)):
            return None
        flags = [flag.read(file).item() if isinstance(flag, PlainArray) else flag for flag in truth]
    return [bool(flag) for flag in flags] if all(flag in (0, 1) for flag in flags) else None


@contextmanager
def _reading_bin(folder: SourceFolder, name: str) -> Iterator[None]:
    """Name a set that its disk does not give; raises DataError."""
    try:
        with folder.lost.parsing(name):
            yield
    except OSError as error:
        raise DataError(f"{folder.where(name)} cannot be read: {error.strerror}.") from None


def _bin_images(folder: SourceFolder, name: str, images: list[BytesAt | PlainArray | bytes]) -> Iterator[bytes]:
    with _reading_bin(folder, name), folder.local(name).open("rb") as file:
        for image in images:
            yield _image_bytes(file, image)


def _image_bytes(file: BinaryIO, image: BytesAt | PlainArray | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    data = image.read(file)
    return data if isinstance(data, bytes) else data.tobytes()


def _read_pairs(folder: SourceFolder, file: str) -> ListedPairs:
    where = folder.where(file)
    table = read_table(folder.read(file), where)
    if not table.lines or not {"first", "second", "same"} <= set(table.columns):
        there = f"; its columns are {first_of(map(shown, table.columns))}" if table.columns else ""
        raise DataError(f"{where} must have the columns first,second,same and at least one pair{there}.")
    parent = PurePosixPath(file).parent
    names, truth = [], []
    for row, number in enumerate(table.lines):
        same = table.columns["same"][row]
        if same.lower() not in TRUTH:
            raise DataError(f"{where} line {number}: `same` is {same!r}; write 1 or 0.")
        truth.append(TRUTH[same.lower()])
        for column in ("first", "second"):
            image = table.columns[column][row]
            name = folder.listed(posixpath.normpath(parent / image.replace("\\", "/")))
            if name not in folder:
                other = folder.spelled_otherwise(name)
                hint = f" {shown(other)} is there: write names as the files have them." if other else ""
                raise DataError(f"{where} line {number}: there is no image {image!r} beside the list.{hint}")
            names.append(name)
    return ListedPairs(names, np.array(truth), list(table.lines))


def _landmarks(folder: SourceFolder, meta_file: str, issame: Bools) -> Floats | None:
    if meta_file not in folder:
        return None
    where = folder.where(meta_file)
    try:
        meta = parse_json(folder.read(meta_file), where, "Write it again, or remove it.", DataError)
        names = [image for pair in meta["pairs"] for image in pair]
        unknown = np.full((5, 2), np.nan)
        points = np.array([meta["landmarks"].get(image, unknown) for image in names], dtype=np.float32)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{where} cannot be used ({error}); it needs `pairs` and `landmarks`.") from None
    if points.shape != (2 * len(issame), 5, 2):
        raise DataError(f"{where} has landmarks for {amount(len(points), 'image')}, the set has {2 * len(issame)}.")
    return points


def _names_in(folder: SourceFolder, meta_file: str) -> list[str]:
    """Return names of a set's images in their order; empty where its file does not say."""
    if meta_file not in folder:
        return []
    where, remedy = folder.where(meta_file), "Write it again, or remove it."
    meta = parse_json(folder.read(meta_file), where, remedy, DataError)
    check_types(meta, {"pairs": list}, where, remedy, DataError)
    if not all(isinstance(pair, list) for pair in meta.get("pairs", [])):
        raise DataError(f"{where} is damaged: pairs holds something else than lists of two images. {remedy}")
    return [str(image) for pair in meta.get("pairs", []) for image in pair]


def _people(names: list[str], issame: Bools) -> NDArray[np.int64] | None:
    """int64 [2N]: numbers of the folders that images of these names lie in, if every genuine pair lies in one folder
    and every impostor pair in two; None otherwise.
    """
    if len(names) != 2 * len(issame):
        return None
    folders = [PurePosixPath(name).parent.as_posix() for name in names]
    numbers = np.unique(np.array(folders), return_inverse=True)[1].astype(np.int64)
    return numbers if np.array_equal(numbers[0::2] == numbers[1::2], issame) else None


def _names_of_people(images: Sequence[str], numbers: NDArray[np.int64] | None) -> dict[int, str]:
    """Return the name of each person: that of the folder which the images lie in."""
    if numbers is None:
        return {}
    return {int(number): PurePosixPath(name).parent.name for number, name in zip(numbers, images, strict=True)}
