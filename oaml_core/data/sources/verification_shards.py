"""Verification sets inside archives: WebDataset shards and Parquet, with pairs, or with labelled images to be paired.

A shard's sample is a pair where its key has two images (`0001.0.jpg`, `0001.1.jpg`) beside `.cls`, `.txt` or `.json`
with 1 or 0. A Parquet row is one where it has two columns of images; rows of one image and `is_same` are pairs two by
two, as CVLface stores its sets. Where images carry labels of people instead, pairs are drawn from them.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.image_parquet import IMAGE, ImageParquetSource, image_bytes, open_parquet, reading_parquet
from oaml_core.data.sources.labelled_pairs import pair_labelled
from oaml_core.data.sources.verification_source import TRUTH, VerificationSource
from oaml_core.data.sources.webdataset import (
    LABEL_SUFFIXES,
    LONGEST_LABEL,
    VALIDATION_SPLITS,
    WebDatasetSource,
    label_in,
    split_of,
)
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError

SHARD_SUFFIXES = (".tar", ".parquet")
OWN_FOLDERS = ("verification", "val", "validation", "test")
"""Folders whose shards are all of verification sets."""
SHARED_FOLDERS = (".", "data")
"""Folders in which the name says which split a shard is of."""
PAIR_COLUMNS = (("image1", "image2"), ("image_1", "image_2"), ("img1", "img2"), ("first", "second"))
TRUTH_COLUMNS = ("same", "is_same", "issame", "label", "match")
TRUTH_KEYS = ("same", "is_same", "issame", "label", "match")
_NUMBERED = re.compile(r"[-_]\d+(?:-of-\d+)?$")


class _Pair(NamedTuple):
    """Where the two images of a pair stand in a shard: offset and size of each, in bytes."""

    shard: str
    places: tuple[tuple[int, int], ...]


def sharded_set(file: str) -> str | None:
    """Return the name of the verification set that a shard belongs to; None where it belongs to none."""
    path = PurePosixPath(file)
    if path.suffix not in SHARD_SUFFIXES:
        return None
    parent, name = path.parent.as_posix(), _NUMBERED.sub("", path.stem)
    is_split = parent in SHARED_FOLDERS and split_of(path.name) in VALIDATION_SPLITS
    return name or parent if parent in OWN_FOLDERS or is_split else None


def open_sharded_set(folder: SourceFolder, name: str, file: str) -> VerificationSource:
    """Open a set that lies in one or more shards.

    Args:
        folder: the source.
        name: of the set.
        file: its first shard; the others have the same name but for their number.

    Raises:
        DataError: a shard is damaged, or holds neither pairs nor labelled images.
    """
    first = PurePosixPath(file)
    shards = [
        other
        for other in folder.files
        if PurePosixPath(other).parent == first.parent
        and PurePosixPath(other).suffix == first.suffix
        and sharded_set(other) == name
    ]
    if first.suffix == ".tar":
        return _open_tars(folder, name, shards)
    return _open_parquet(folder, name, shards)


def _open_tars(folder: SourceFolder, name: str, shards: list[str]) -> VerificationSource:
    where = folder.where(shards[0])
    pairs: list[_Pair] = []
    truth: list[bool] = []
    for shard in shards:
        for key, places, label in _samples(folder, shard):
            if len(places) != 2:
                if pairs:
                    raise DataError(f"{folder.where(shard)}: {key} has {amount(len(places), 'image')}; a pair has two.")
                return pair_labelled(WebDatasetSource(folder, shards), name, where)
            same = TRUTH.get((label or "").lower())
            if same is None:
                raise DataError(f"{folder.where(shard)}: {key} says {label!r} of its pair; write 1 or 0.")
            pairs.append(_Pair(shard, places))
            truth.append(same)
    if not pairs:
        raise DataError(f"{where} holds no sample with an image.")

    def images() -> Iterator[bytes]:
        for pair in pairs:
            for offset, size in pair.places:
                yield folder.read_range(pair.shard, offset, size)

    return VerificationSource(name, where, np.array(truth), lambda: None, images, used=shards)


def _samples(folder: SourceFolder, shard: str) -> Iterator[tuple[str, tuple[tuple[int, int], ...], str | None]]:
    """Go through the samples of a shard: key, place and size of each image by the rising rest of its name, label."""
    key, label = "", None
    images: dict[str, tuple[int, int]] = {}
    try:
        archive: Any
        with folder.lost.parsing(shard), tarfile.open(folder.local(shard), "r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # it would keep all of them
                if not member.isfile():
                    continue
                path = PurePosixPath(member.name)
                stem, _, rest = path.name.partition(".")
                if (now := (path.parent / stem).as_posix()) != key:
                    if images:
                        yield key, tuple(images[one] for one in sorted(images)), label
                    key, images, label = now, {}, None
                last = rest.lower().rpartition(".")[2]
                if f".{last}" in IMAGE_SUFFIXES:
                    images[rest] = member.offset_data, member.size
                elif last in LABEL_SUFFIXES and member.size <= LONGEST_LABEL:
                    label = label_in(archive.extractfile(member).read(), last, TRUTH_KEYS)
    except (tarfile.TarError, OSError) as error:
        raise DataError(f"{folder.where(shard)} cannot be read further ({error}). Copy it again.") from None
    if images:
        yield key, tuple(images[one] for one in sorted(images)), label


def _open_parquet(folder: SourceFolder, name: str, shards: list[str]) -> VerificationSource:
    where = folder.where(shards[0])
    columns = open_parquet(folder, shards[0]).schema_arrow.names
    both = next((pair for pair in PAIR_COLUMNS if set(pair) <= set(columns)), None)
    stated = next((one for one in TRUTH_COLUMNS if one in columns and not (both is None and one == "label")), None)
    if both is not None and stated is None:
        raise DataError(f"{where} has the columns {', '.join(columns)}; pairs need one of {', '.join(TRUTH_COLUMNS)}.")
    if both is None and (stated is None or IMAGE not in columns):
        return pair_labelled(ImageParquetSource(folder, shards), name, where)
    wanted = both or (IMAGE,)
    flags: list[bool] = []
    for shard in shards:
        with reading_parquet(folder, shard):
            values = open_parquet(folder, shard).read(columns=[stated])[stated].to_pylist()
        flags += [_flag(value, folder.where(shard)) for value in values]
    if both is None:
        if len(flags) % 2 or flags[0::2] != flags[1::2]:
            raise DataError(f"{where}: rows are pairs two by two, and both must say the same in {stated}.")
        flags = flags[0::2]
    if not flags:
        raise DataError(f"{where} has no rows.")

    def images() -> Iterator[bytes]:
        for shard in shards:
            opened = open_parquet(folder, shard)
            for group in range(opened.num_row_groups):
                with reading_parquet(folder, shard):
                    rows = opened.read_row_group(group, columns=list(wanted)).to_pylist()
                for row in rows:
                    for column in wanted:
                        yield image_bytes(row[column], f"{folder.where(shard)} column {column}")

    return VerificationSource(name, where, np.array(flags), lambda: None, images, used=shards)


def _flag(value: object, where: str) -> bool:
    same = TRUTH.get(str(value).lower())
    if same is None:
        raise DataError(f"{where} says {value!r} of a pair; write true or false, 1 or 0.")
    return same
