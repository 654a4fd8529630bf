"""Files of a prepared data set on this node: how they come from the store, and how much room there is for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from oaml_core.data.prepared.manifest import ManifestFile
from oaml_core.errors import DataError
from oaml_core.store import Store
from oaml_core.store.base import MissingObject
from oaml_core.store.cache import bytes_below
from oaml_core.store.local_file import sha256_of
from oaml_core.structured_text import parse_json

STREAMED = "streamed.json"
"""Beside the manifest of a data set whose parts may be missing here: says which store has them."""
KEPT_FREE = 0.1
"""Share of a volume that streamed parts leave free, for checkpoints and whatever else lies there."""
MOST_KEPT_FREE = 50_000_000_000
"""Bytes that they leave free at most."""


def is_part(file: ManifestFile) -> bool:
    """Return True if a file holds training images, and may come while the training goes on."""
    return file.path.startswith("train/") and file.path.endswith(".rec")


def part_number(file: ManifestFile) -> int:
    """Return the number of a part, `12` of `train/part-00012.rec`."""
    return int(file.path.rpartition("-")[2].removesuffix(".rec"))


def bytes_of(files: Iterable[ManifestFile]) -> int:
    """Return the bytes of some files of a data set together."""
    return sum(file.size for file in files)


def is_there(directory: Path, file: ManifestFile) -> bool:
    """Return True if a file of the data set is here, with the size that the manifest says."""
    try:
        return (directory / file.path).stat().st_size == file.size
    except OSError:
        return False


def bring(store: Store, file: ManifestFile, directory: Path) -> None:
    """Fetch a file of a data set; it appears by rename, and only with the SHA-256 that the manifest says.

    Raises:
        DataError: the store lacks it, or it is damaged there.
        StoreError: the store cannot be reached, or the disk is full.
    """
    path = directory / file.path
    unproved = path.with_name(f".{path.name}.unproved")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        store.get_file(file.key, unproved)
        found = sha256_of(unproved)
        if found != file.sha256:
            raise DataError(f"{store.url(file.key)} is damaged (SHA-256 {found}). Run `oaml prepare --repair`.")
        unproved.replace(path)
    except MissingObject:
        raise lacking(store.url(file.key), file.path) from None
    except FileNotFoundError:
        if not is_there(directory, file):  # by another process, which has brought it at the same time
            raise
    finally:
        unproved.unlink(missing_ok=True)


def lacking(url: str, path: str) -> DataError:
    """Return the error for a file of a data set that the store has no more."""
    return DataError(
        f"{url}, which is {path} of the data set, is not in the store. Run `oaml prepare --repair` with the same "
        "configuration: it makes the file again."
    )


def room_on_disk(directory: Path) -> int:
    """Return the bytes that may still come onto the volume of a folder; below 0 where it is too full already."""
    disk = shutil.disk_usage(directory)
    return disk.free - round(min(KEPT_FREE * disk.total, MOST_KEPT_FREE))


def room_for_parts(directory: Path, limit: int | None) -> int:
    """Return the bytes that may still come into a data set's folder; below 0 where there are too many.

    Args:
        directory: the folder, made already.
        limit: bytes that all data sets beside it may take together; None: the volume alone decides.
    """
    room = room_on_disk(directory)
    return room if limit is None else min(room, limit - bytes_below(directory.parent))


def note_store(directory: Path, uri: str) -> None:
    """Say beside a data set which store, `s3://…` or `file://…`, has the parts that are missing here."""
    unfinished = directory / f".{STREAMED}.unfinished"
    unfinished.write_text(json.dumps({"store": uri}))
    unfinished.replace(directory / STREAMED)


def noted_store(directory: Path) -> str | None:
    """Return the address of the store that has a data set's parts; None if all of them were copied here.

    Raises:
        DataError: the note is damaged.
    """
    path = directory / STREAMED
    if not path.is_file():
        return None
    remedy = "Remove the file, and fetch the data set again."
    uri: str = parse_json(path.read_bytes(), str(path), remedy, DataError, needs={"store": str})["store"]
    return uri
