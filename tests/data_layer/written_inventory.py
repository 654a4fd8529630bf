"""Inventories as S3 writes them, of objects that a test knows."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pyarrow
import pyarrow.parquet

from oaml_core.store import Store

TOP = "lists/raw/nightly"
"""Destination, source bucket and configuration."""
COLUMNS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")
IN_PARQUET = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "last_modified_date", "e_tag")
Rows = Sequence[Sequence[Any]]


def rows_of(contents: Mapping[str, bytes], tags: Mapping[str, str] | None = None) -> list[list[Any]]:
    """Rows of the current objects of the bucket `raw`, and of versions and deletions that are none.

    Args:
        contents: of the objects by key.
        tags: their ETags, where they are no MD5.
    """
    when = datetime(2030, 1, 1, tzinfo=UTC)
    rows = [
        ["raw", key, "3", True, False, len(content), when, (tags or {}).get(key, hashlib.md5(content).hexdigest())]
        for key, content in contents.items()
    ]
    first = next(iter(contents))
    gone = ["raw", "faces/p00/gone.jpg", "2", True, True, None, when, None]
    return [*rows, ["raw", first, "1", False, False, 7, when, "0" * 32], gone]


def csv_file(rows: Rows, columns: Sequence[str] = COLUMNS) -> bytes:
    """Cells in quotes, keys URL-encoded, no header."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for row in rows:
        cells = dict(zip(COLUMNS, row, strict=True))
        cells["Key"] = quote_plus(cells["Key"], safe="/")
        texts = {name: str(cell).lower() if isinstance(cell, bool) else cell for name, cell in cells.items()}
        writer.writerow([texts[name] for name in columns])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def parquet_file(rows: Rows, columns: Sequence[str] = COLUMNS) -> bytes:
    data = io.BytesIO()
    cells = dict(zip(IN_PARQUET, zip(*rows, strict=True), strict=True))
    names = [name for name, one in zip(IN_PARQUET, COLUMNS, strict=True) if one in columns]
    pyarrow.parquet.write_table(pyarrow.table({name: list(cells[name]) for name in names}), data)
    return data.getvalue()


def manifest_of(contents: Mapping[str, bytes], columns: Sequence[str] = COLUMNS, **keys: Any) -> bytes:
    """Content of `manifest.json`."""
    named = [
        {"key": key, "size": len(content), "MD5checksum": hashlib.md5(content).hexdigest()}
        for key, content in contents.items()
    ]
    told = {
        "sourceBucket": "raw",
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": str(int(datetime.now(UTC).timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": ", ".join(columns),
        "files": named,
    }
    return json.dumps(told | keys).encode()


def put_inventory(
    store: Store, rows: Rows, kind: str = "CSV", date: str = "2030-01-02T01-00Z", columns: Sequence[str] = COLUMNS
) -> str:
    """Write the objects of an inventory in two files, and return the address of the folder above the dates."""
    ending, write = ("csv.gz", csv_file) if kind == "CSV" else ("parquet", parquet_file)
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    files = {f"{TOP}/data/{date}-{n}.{ending}": write(half, columns) for n, half in enumerate(halves)}
    for key, content in files.items():
        store.write_bytes(key, content)
    put_manifest(store, manifest_of(files, columns, fileFormat=kind), date)
    store.write_bytes(f"{TOP}/hive/dt=2030-01-02-01-00/symlink.txt", b"")
    return store.url(TOP)


def put_manifest(store: Store, content: bytes, date: str = "2030-01-02T01-00Z") -> None:
    store.write_bytes(f"{TOP}/{date}/manifest.checksum", hashlib.md5(content).hexdigest().encode())
    store.write_bytes(f"{TOP}/{date}/manifest.json", content)
