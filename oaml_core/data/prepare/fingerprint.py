"""The fingerprint of a prepared data set, known before anything is prepared.

It covers the content of every file that could be read and the configuration keys that shape the result; times,
machines and folders do not enter it. Checksums are kept by path, size and time of the last change, or the ETag in a
store's listing, so that the second run over a large source reads no file. For a source in a store they are kept in the
artifact store too: a pod that begins with an empty disk asks for what is new, and for nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from posixpath import splitext
from typing import TYPE_CHECKING, Any

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.data.check.scan import in_order
from oaml_core.data.prepared.manifest import FORMAT
from oaml_core.data.sources.base import SourceFile, SourceFolder
from oaml_core.data.sources.lost_files import is_image
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError, StoreError
from oaml_core.progress import progress
from oaml_core.sqlite_damage import BUSY_SECONDS, is_damage

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)

CHECKSUMS = "checksums.sqlite"
"""File of a work directory that keeps the checksums of sources."""
INVENTORIES = "inventories"
"""Folder in which a store keeps the checksums of sources that lie in stores."""
LOOKED_UP = 1_000
"""Files whose checksums are looked up before those that are not known are read."""
DIGITS = 16
READ_SUFFIXES = IMAGE_SUFFIXES | {".rec", ".idx", ".bin", ".csv", ".parquet", ".tar", ".json", ".txt"}
READ_NAMES = {"property"}
TABLE = (
    "CREATE TABLE IF NOT EXISTS checksum (path TEXT PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT) WITHOUT ROWID"
)


def fingerprint_of(
    settings: dict[str, Any], folders: Mapping[str, SourceFolder], cache: Path, store: Store | None = None
) -> str:
    """Return the fingerprint of a data set, 16 hexadecimal digits.

    Args:
        settings: as `shaping_settings` gives them.
        folders: the source's folders by their use; empty for drawn faces.
        cache: file that keeps checksums.
        store: keeps a copy of it, where parts of the source lie in a store; None: nothing does.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    key = _inventory_key(folders)
    _bring_inventory(store, key, cache)
    read = _Count()
    for use, folder in folders.items():
        for name, checksum in _checksums(folder, cache, read):
            digest.update(f"{use and use + ':'}{name}\0{checksum}\n".encode())
    if store is not None and key and read.files:
        store.put_file(cache, key)
    return digest.hexdigest()[:DIGITS]


def fingerprint_of_read(
    fingerprint: str, settings: dict[str, Any], folders: Mapping[str, SourceFolder], cache: Path
) -> str:
    """Return the fingerprint of what was read of the folders since theirs was found out.

    Args:
        fingerprint: as `fingerprint_of` has found it out; it stays where every file came as it was listed.
        settings, folders, cache: as it was found out by.
    """
    lost = lost_since_hashed(folders)
    if not lost:
        return fingerprint
    log.warning(
        "%s not read as listed when the checksums were found out; the data set has a fingerprint of its own, and is "
        "made again once all files can be read. The first: %s",
        *(amount(len(lost), "file was", "files were"), next(iter(lost.values()))),
    )
    return fingerprint_of(settings, folders, cache)


def lost_since_hashed(folders: Mapping[str, SourceFolder]) -> dict[str, str]:
    """Return the reasons by the files that did not come as listed; files of many images are looked at again."""
    for folder in folders.values():
        others = [name for name in folder.files if _is_read(name) and not is_image(name)]
        for _ in in_order(folder.look_again, others, folder.readers):
            pass
    return {folder.where(name): why for folder in folders.values() for name, why in folder.lost.since_hashed.items()}


def _inventory_key(folders: Mapping[str, SourceFolder]) -> str:
    """Where a store keeps the checksums of those folders that lie in stores; empty if none does."""
    remote = sorted(folder.identity for folder in folders.values() if folder.is_remote)
    return f"{INVENTORIES}/{hashlib.sha256(repr(remote).encode()).hexdigest()[:DIGITS]}.sqlite" if remote else ""


def unknown_files(
    folders: Mapping[str, SourceFolder], cache: Path, store: Store | None = None
) -> list[tuple[str, SourceFile]]:
    """Return the files whose checksums `fingerprint_of` would have to find out, each with its folder's use.

    Args:
        folders: the source's folders by their use.
        cache: file that keeps checksums.
        store: keeps a copy of it.
    """
    _bring_inventory(store, _inventory_key(folders), cache)
    unknown: list[tuple[str, SourceFile]] = []
    for use, folder in folders.items():
        with _opened(cache, folder) as known:
            for block in _blocks(folder):
                found = known.find(block)
                unknown += [(use, file) for file in block if file.name not in found]
    return unknown


def keep_checksums(
    folders: Mapping[str, SourceFolder],
    cache: Path,
    found: Iterable[tuple[str, str, str]],
    store: Store | None = None,
) -> None:
    """Keep checksums that were found elsewhere, as `fingerprint_of` keeps those that it finds.

    Args:
        folders: the source's folders by their use.
        cache: file that keeps checksums.
        found: use of the folder, name of the file, SHA-256; files that the folder lacks are passed over.
        store: gets a copy of it.
    """
    by_use: dict[str, dict[str, str]] = {}
    for use, name, sha256 in found:
        by_use.setdefault(use, {})[name] = sha256
    for use, names in by_use.items():
        folder = folders[use]
        with _opened(cache, folder) as known:
            for name, sha256 in names.items():
                file = folder.files.get(name)
                if file is not None and file.stamp:
                    known.keep(file, sha256)
    key = _inventory_key(folders)
    if store is not None and key and by_use:
        store.put_file(cache, key)


def _bring_inventory(store: Store | None, key: str, cache: Path) -> None:
    """Fetch the checksums that an earlier run kept, where this machine has none; without them, or with damaged ones,
    all files are looked at.
    """
    if store is None or not key or cache.exists():
        return
    try:
        if store.exists(key):
            store.get_file(key, cache)
    except StoreError as error:
        log.warning("The checksums of an earlier run cannot be read, and are made again: %s", error)


@dataclass
class _Count:
    files: int = 0
    """Files whose checksum was not known, and has been kept."""


def shaping_settings(config: Config) -> dict[str, Any]:
    """Return the configuration keys, by name, that change what is prepared, and nothing else."""
    data = config.data
    settings: dict[str, Any] = {"format": FORMAT, "data.image_size": data.image_size}
    names: tuple[str, ...] = ("channel_order",)
    if data.source is None:
        from oaml_core.data.sources.synthetic import drawing_code

        names = ("synthetic_identities", "synthetic_images_per_identity", "synthetic_pairs")
        settings |= {"seed": config.seed, "drawn_by": hashlib.sha256(drawing_code().encode()).hexdigest()}
    else:
        names = (*names, "held_out_share")
    shared = ("min_images_per_identity", "max_images_per_identity")
    settings |= {f"data.{name}": getattr(data, name) for name in (*names, *shared)}
    if data.align:
        from oaml_core.photos.recipe import alignment_recipe

        settings["data.align"] = alignment_recipe(data.detector, data.image_size)
    if data.subset is not None:
        try:
            settings["data.subset"] = hashlib.sha256(Path(data.subset).read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"data.subset: {data.subset} cannot be read: {error.strerror}.") from None
    return settings


@dataclass
class _Known:
    """Checksums kept from earlier runs."""

    database: sqlite3.Connection
    source: str

    def find(self, block: Sequence[SourceFile]) -> dict[str, str]:
        """Checksums by name of those files of `block`, which is in order of names, that are as they were."""
        first, last = (f"{self.source}/{file.name}" for file in (block[0], block[-1]))
        rows = self.database.execute(
            "SELECT path, size, stamp, sha256 FROM checksum WHERE path BETWEEN ? AND ?", (first, last)
        )
        kept = {path: (size, stamp, sha256) for path, size, stamp, sha256 in rows}
        found = {}
        for file in block:
            size, stamp, sha256 = kept.get(f"{self.source}/{file.name}", (None, "", ""))
            if file.stamp and (size, stamp) == (file.size, file.stamp):
                found[file.name] = str(sha256)
        return found

    def keep(self, file: SourceFile, sha256: str) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO checksum VALUES (?, ?, ?, ?)",
            (f"{self.source}/{file.name}", file.size, file.stamp, sha256),
        )


@contextmanager
def _opened(cache: Path, folder: SourceFolder) -> Iterator[_Known]:
    """Open the file of checksums; what was kept is written when the block ends well."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    if not _is_sound(cache):
        log.warning("%s is damaged; checksums are found out again.", cache)
        cache.unlink(missing_ok=True)
    with closing(sqlite3.connect(cache, timeout=BUSY_SECONDS)) as database:
        database.execute(TABLE)
        yield _Known(database, folder.identity)
        database.commit()


def _is_sound(cache: Path) -> bool:
    """Return True if a file of checksums can be read; a missing one can.

    Raises:
        sqlite3.Error: it cannot be looked at, as another process holds it or the disk is full.
    """
    if not cache.exists():
        return True
    try:
        with closing(sqlite3.connect(cache, timeout=BUSY_SECONDS)) as database:
            database.execute(TABLE)
            database.execute("SELECT path, size, stamp, sha256 FROM checksum LIMIT 1").fetchall()
            return database.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return False
    except UnicodeDecodeError:
        return False


def _blocks(folder: SourceFolder) -> Iterator[list[SourceFile]]:
    """Yield the files that the fingerprint covers, in order of their names, some at a time."""
    files = [file for file in folder.files.values() if _is_read(file.name)]
    left = iter(progress(iter(files), len(files), "checksums"))
    while block := list(islice(left, LOOKED_UP)):
        yield block


def _checksums(folder: SourceFolder, cache: Path, read: _Count) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of every file, by name.

    A file that cannot be read has an empty one, which is not kept: once it can be read, the data set is another one.
    """
    with _opened(cache, folder) as known:
        for block in _blocks(folder):
            found = known.find(block) | _of_lost(folder, block)
            new = [file for file in block if file.name not in found]
            read_now = in_order(lambda file: (file, folder.sha256(file.name)), new, folder.readers) if new else ()
            for file, checksum in read_now:
                found[file.name] = checksum
                if file.stamp and checksum:
                    known.keep(file, checksum)
                    read.files += 1
            yield from ((file.name, found[file.name]) for file in block)


def _of_lost(folder: SourceFolder, block: Sequence[SourceFile]) -> dict[str, str]:
    if not folder.lost:
        return {}
    told = ((file.name, folder.lost.checksum(file.name)) for file in block)
    return {name: checksum for name, checksum in told if checksum is not None}


def _is_read(name: str) -> bool:
    return splitext(name)[1].lower() in READ_SUFFIXES or name.rpartition("/")[2] in READ_NAMES
