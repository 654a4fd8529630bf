"""Rows of the files of an S3 Inventory, as they stream: CSV in gzip, and Parquet."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from oaml_core.data.sources.image_parquet import cell_text, reading_parquet
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown

NEEDED = {"bucket": "Bucket", "key": "Key", "size": "Size", "etag": "ETag"}
"""Columns without which objects cannot be told apart, as S3 calls them, by the names that CSV and Parquet share."""
LATEST, MARKER, VERSION = "islatest", "isdeletemarker", "versionid"
LONGEST_LINE = 1 << 16
"""Characters: a key has 1,024 bytes, each three characters long where it is encoded."""
ROWS = 1 << 14
"""Rows of Parquet that are held at a time."""
MEND_COLUMNS = "Add it to the additional fields of the inventory's configuration, and wait for the next inventory."
COPY_AGAIN = "Wait for the next inventory, or copy it again."
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class InventoryRow(NamedTuple):
    """The current content of one object."""

    bucket: str
    key: str
    size: int
    """Bytes."""
    etag: str


def csv_rows(path: Path, schema: str, where: str) -> Iterator[InventoryRow]:
    """Yield the rows of a CSV file without a header, in gzip; keys are decoded.

    Args:
        path: file on this disk.
        schema: `fileSchema` of the manifest.
        where: address of the file, for messages.

    Raises:
        DataError: a column is missing, the file is cut off or damaged, or a key cannot be decoded.
    """
    names = schema.split(",")
    places = _places(names, where)
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for number, cells in enumerate(csv.reader(_lines(file, where), strict=True), start=1):
                if len(cells) != len(names):
                    raise DataError(
                        f"{where} row {number} has {len(cells)} columns, and the manifest names {len(names)}. "
                        f"{COPY_AGAIN}"
                    )
                place = f"{where} row {number}"
                cells[places["key"]] = _decoded(cells[places["key"]], place)
                row = _row(cells, places, place)
                if row is not None:
                    yield row
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{where} is damaged or cut off ({error}). {COPY_AGAIN}") from None


def parquet_rows(path: Path, where: str) -> Iterator[InventoryRow]:
    """Yield the rows of a Parquet file.

    Args:
        path: file on this disk.
        where: address of the file, for messages.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    import pyarrow.parquet

    with reading_parquet(where):
        file = pyarrow.parquet.ParquetFile(path, memory_map=True)
        columns = file.schema_arrow.names
        _places(columns, where)
        wanted = [name for name in columns if _plain(name) in (*NEEDED, LATEST, MARKER, VERSION)]
        places, number = _places(wanted, where), 0
        for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                row = _row(cells, places, f"{where} row {number}")
                if row is not None:
                    yield row


def _plain(name: str) -> str:
    """Return `ETag` and `e_tag` alike."""
    return name.strip().replace("_", "").lower()


def _places(names: Sequence[str], where: str) -> dict[str, int]:
    """Return the place of each column by its plain name."""
    places = {_plain(name): place for place, name in enumerate(names)}
    for column, name in NEEDED.items():
        if column not in places:
            raise DataError(f"{where} lacks the column {name}. {MEND_COLUMNS}")
    if VERSION in places and LATEST not in places:
        raise DataError(f"{where} has earlier versions of objects, and lacks the column IsLatest. {MEND_COLUMNS}")
    return places


def _row(cells: Sequence[Any], places: dict[str, int], where: str) -> InventoryRow | None:
    """Return the object of a row; None for earlier versions and markers of deleted objects."""
    if LATEST in places and not _flag(cells[places[LATEST]], where):
        return None
    if MARKER in places and _flag(cells[places[MARKER]], where):
        return None
    bucket, key, size, etag = (cells[places[name]] for name in NEEDED)
    try:
        size = int(size)
    except (TypeError, ValueError):
        raise DataError(f"{where}: {shown(cell_text(size))!r} is no size in bytes. {COPY_AGAIN}") from None
    row = InventoryRow(cell_text(bucket), key if isinstance(key, str) else _text(key, where), size, cell_text(etag))
    if not row.key or size < 0:
        raise DataError(f"{where} names no object with a size. {COPY_AGAIN}")
    return row


def _flag(cell: object, where: str) -> bool:
    text = cell_text(cell).lower()
    if text not in ("true", "false"):
        raise DataError(f"{where}: {shown(text)!r} is neither true nor false. {COPY_AGAIN}")
    return text == "true"


def _text(key: object, where: str) -> str:
    """Return a key of a column of bytes."""
    if not isinstance(key, bytes):
        return ""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _undecodable(repr(key), where) from None


def _decoded(key: str, where: str) -> str:
    """Return a key as the listing of S3 has it: CSV has it URL-encoded."""
    if "%" not in key and "+" not in key:
        return key
    try:
        if not _BAD_ESCAPE.search(key):
            return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        pass
    raise _undecodable(key, where)


def _undecodable(key: str, where: str) -> DataError:
    return DataError(f"{where}: the key {shown(key)} cannot be decoded. {COPY_AGAIN}")


def _lines(file: Any, where: str) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise DataError(f"{where} has a line of more than {LONGEST_LINE:,} characters. {COPY_AGAIN}")
        yield line
