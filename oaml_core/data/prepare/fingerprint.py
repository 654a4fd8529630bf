"""The fingerprint of a prepared data set, known before anything is prepared.

It covers the content of every file that could be read and the configuration keys that shape the result; times,
machines and folders do not enter it. Checksums of local files are kept by path, size and time of the last change,
so that the second run over a large source reads no file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from oaml_core.config import Config
from oaml_core.data.check.scan import in_order
from oaml_core.data.prepared.manifest import FORMAT
from oaml_core.data.sources.base import IMAGE_SUFFIXES, SourceFile, SourceFolder
from oaml_core.errors import DataError
from oaml_core.progress import progress

DIGITS = 16
READ_SUFFIXES = IMAGE_SUFFIXES | {".rec", ".idx", ".bin", ".csv", ".parquet", ".json", ".txt"}
READ_NAMES = {"property"}


def fingerprint_of(settings: dict[str, Any], folders: Mapping[str, SourceFolder], cache: Path) -> str:
    """16 hexadecimal digits.

    Args:
        settings: as `shaping_settings` gives them.
        folders: the source's folders by their use; empty for drawn faces.
        cache: file that keeps the checksums of local files.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for use, folder in folders.items():
        for name, checksum in _checksums(folder, cache):
            digest.update(f"{use and use + ':'}{name}\0{checksum}\n".encode())
    return digest.hexdigest()[:DIGITS]


def shaping_settings(config: Config) -> dict[str, Any]:
    """The configuration keys, by name, that change what is prepared, and nothing else."""
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

    def find(self, file: SourceFile) -> str | None:
        row = self.database.execute(
            "SELECT sha256 FROM checksum WHERE path = ? AND size = ? AND stamp = ?",
            (f"{self.source}/{file.name}", file.size, file.stamp),
        ).fetchone()
        return None if row is None else str(row[0])

    def keep(self, file: SourceFile, sha256: str) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO checksum VALUES (?, ?, ?, ?)",
            (f"{self.source}/{file.name}", file.size, file.stamp, sha256),
        )


def _checksums(folder: SourceFolder, cache: Path) -> Iterator[tuple[str, str]]:
    """(name, SHA-256) of every file that could be read, by name."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(cache, timeout=60)) as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS checksum (path TEXT PRIMARY KEY, size INTEGER, stamp TEXT, sha256 TEXT) "
            "WITHOUT ROWID"
        )
        known = _Known(database, folder.identity)
        files = [file for file in folder.files.values() if _is_read(file.name)]
        found = ((file, known.find(file) if file.stamp else None) for file in files)
        hashed = in_order(
            lambda item: (item[0], item[1] or folder.sha256(item[0].name), item[1] is None), found, folder.readers
        )
        for file, checksum, new in progress(hashed, len(files), "checksums"):
            if new and file.stamp:
                known.keep(file, checksum)
            yield file.name, checksum
        database.commit()


def _is_read(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in READ_SUFFIXES or path.name in READ_NAMES
