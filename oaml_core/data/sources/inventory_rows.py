"""Rows of the files of an S3 Inventory, some thousands at a time as they stream: CSV in gzip, and Parquet.

They are taken apart by columns: a row at a time costs twice the processor time at 42 million objects.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import numpy as np
from numpy.typing import NDArray

from oaml_core.data.sources.image_parquet import cell_text, parsing_parquet
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown

NEEDED = {"bucket": "Bucket", "key": "Key", "size": "Size", "etag": "ETag"}
"""Columns without which objects cannot be told apart, as S3 calls them, by the names that CSV and Parquet share."""
LATEST, MARKER, VERSION = "islatest", "isdeletemarker", "versionid"
CHANGED = "lastmodifieddate"
LONGEST_KEY = 1 << 14
"""Characters: a key of S3 has 1,024 bytes."""
ROWS = 1 << 14
"""Rows of Parquet that are held at a time."""
BLOCK = 1 << 20
"""Bytes of CSV that are held at a time; no row is longer."""
MEND_COLUMNS = "Add it to the additional fields of the inventory's configuration, and wait for the next inventory."
COPY_AGAIN = "Wait for the next inventory, or copy it again."
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class InventoryRows(NamedTuple):
    """Current contents of some objects: one key, size and ETag each."""

    buckets: list[str]
    """Distinct buckets that the objects lie in."""
    keys: list[str]
    sizes: list[int]
    """Bytes."""
    etags: list[str]
    changed: dict[int, datetime]
    """Time of the last change of objects whose ETag is that of an upload in parts, by their row; missing where the
    inventory tells none."""


def csv_rows(path: Path, schema: str, where: str) -> Iterator[InventoryRows]:
    """Yield the rows of a CSV file without a header, in gzip; keys are decoded.

    Args:
        path: file on this disk.
        schema: `fileSchema` of the manifest.
        where: address of the file, for messages.

    Raises:
        DataError: a column is missing, the file is cut off or damaged, or a key cannot be decoded.
    """
    import pyarrow
    import pyarrow.csv

    names = [_plain(name) for name in schema.split(",")]
    wanted = _wanted(names, where)
    wrong: list[str] = []

    def refuse(row: Any) -> str:
        wrong.append(
            f"{where} row {row.number} has {row.actual_columns} columns, and the manifest names {len(names)}. "
            f"{COPY_AGAIN}"
        )
        return "error"

    texts = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pyarrow.string()), include_columns=wanted, strings_can_be_null=False
    )
    cells = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=refuse)
    blocks = pyarrow.csv.ReadOptions(column_names=names, block_size=BLOCK, use_threads=False)
    try:
        with gzip.open(path) as file:
            if not file.read(1):
                return
        with pyarrow.input_stream(str(path), compression="gzip") as stream:
            batches = _of_whole_lines(pyarrow.csv.open_csv(stream, blocks, cells, texts), where)
            yield from _in_order(batches, where, _decoded)
    except (pyarrow.ArrowException, OSError, EOFError, zlib.error) as error:
        raise DataError(wrong[0] if wrong else f"{where} is damaged or cut off ({error}). {COPY_AGAIN}") from None


def parquet_rows(path: Path, where: str) -> Iterator[InventoryRows]:
    """Yield the rows of a Parquet file.

    Args:
        path: file on this disk.
        where: address of the file, for messages.

    Raises:
        DataError: a column is missing, or the file is damaged.
    """
    import pyarrow.parquet

    with parsing_parquet(where):
        file = pyarrow.parquet.ParquetFile(path, memory_map=True)
        batches = file.iter_batches(batch_size=ROWS, columns=_wanted(file.schema_arrow.names, where))
        yield from _in_order(batches, where, _text)


def _plain(name: str) -> str:
    """Return `ETag` and `e_tag` alike."""
    return name.strip().replace("_", "").lower()


def _wanted(names: Sequence[str], where: str) -> list[str]:
    """Return the names of the columns that are read."""
    plain = {_plain(name): name for name in names}
    for column, name in NEEDED.items():
        if column not in plain:
            raise DataError(f"{where} lacks the column {name}. {MEND_COLUMNS}")
    if VERSION in plain and LATEST not in plain:
        raise DataError(f"{where} has earlier versions of objects, and lacks the column IsLatest. {MEND_COLUMNS}")
    return [plain[name] for name in (*NEEDED, LATEST, MARKER, CHANGED) if name in plain]


def _in_order(batches: Any, where: str, as_key: Callable[[Any, str], str]) -> Iterator[InventoryRows]:
    """Yield the objects of Arrow's batches, of which earlier versions and markers of deleted objects are left out.

    Args:
        batches: of the wanted columns, from the file's first row on.
        where: address of the file, for messages.
        as_key: returns the key of a cell whose bytes are not the key itself.
    """
    first = 1
    for batch in batches:
        rows = _Rows(dict(zip(map(_plain, batch.schema.names), batch.columns, strict=True)), where, first)
        first += batch.num_rows
        yield rows.of_objects(as_key)


def _of_whole_lines(batches: Any, where: str) -> Iterator[Any]:
    """Yield batches of CSV whose keys hold no line breaks: those are encoded, and another one is a lost quote."""
    import pyarrow.compute as pc

    for batch in batches:
        if pc.any(pc.match_substring_regex(batch.column("key"), "[\r\n]")).as_py():
            raise DataError(f"{where} is damaged or cut off (a line ends within quotes). {COPY_AGAIN}")
        yield batch


class _Rows:
    """Columns of rows that follow each other in a file."""

    def __init__(self, columns: dict[str, Any], where: str, first: int) -> None:
        self._columns = columns
        self._where = where
        self._numbers = np.arange(first, first + len(columns["key"]))

    def of_objects(self, as_key: Callable[[Any, str], str]) -> InventoryRows:
        """Return the current contents of objects."""
        import pyarrow.compute as pc

        for name, meant in ((LATEST, "true"), (MARKER, "false")):
            if name in self._columns:
                self._keep(self._flags(name), meant)
        keys, sizes = self._keys(as_key), self._sizes()
        buckets = pc.unique(_texts(self._columns["bucket"])).to_pylist()
        etags = _texts(self._columns["etag"])
        return InventoryRows(buckets, keys, sizes, etags.to_pylist(), self._changed(etags))

    def _changed(self, etags: Any) -> dict[int, datetime]:
        """Return the times of uploads in parts alone: taken apart for every row they would cost more than the rest."""
        import pyarrow.compute as pc

        if CHANGED not in self._columns:
            return {}
        column = self._columns[CHANGED]
        rows = np.flatnonzero(_mask(pc.match_substring(etags, "-"))).tolist()
        found = ((row, _time(column[row].as_py())) for row in rows)
        return {row: time for row, time in found if time is not None}

    def _place(self, row: int | np.intp) -> str:
        return f"{self._where} row {self._numbers[row]}"

    def _keep(self, flags: Any, meant: str) -> None:
        import pyarrow.compute as pc

        wanted = pc.equal(flags, meant)
        if not pc.all(wanted).as_py():
            self._columns = {name: column.filter(wanted) for name, column in self._columns.items()}
            self._numbers = self._numbers[_mask(wanted)]

    def _flags(self, name: str) -> Any:
        import pyarrow
        import pyarrow.compute as pc

        texts = pc.utf8_lower(_texts(self._columns[name]))
        for row in np.flatnonzero(~_mask(pc.is_in(texts, pyarrow.array(["true", "false"])))):
            told = shown(cell_text(texts[row].as_py()))
            raise DataError(f"{self._place(row)}: {told!r} is neither true nor false. {COPY_AGAIN}")
        return texts

    def _sizes(self) -> list[int]:
        import pyarrow

        column = self._columns["size"]
        try:
            cells = column.cast(pyarrow.int64()).to_pylist()
        except pyarrow.ArrowException:
            cells = column.to_pylist()
        sizes: list[int] = [_size(cell) for cell in cells]
        if sizes and min(sizes) < 0:
            row = next(row for row, size in enumerate(sizes) if size < 0)
            told = shown(cell_text(cells[row]))
            raise DataError(f"{self._place(row)}: {told!r} is no size in bytes. {COPY_AGAIN}")
        return sizes

    def _keys(self, as_key: Callable[[Any, str], str]) -> list[str]:
        keys: list[Any] = self._columns["key"].to_pylist()
        for row, key in enumerate(keys):
            if type(key) is not str or "%" in key or "+" in key:
                keys[row] = key = as_key(key, self._place(row))
            if not key:
                raise DataError(f"{self._place(row)} names no object. {COPY_AGAIN}")
            if len(key) > LONGEST_KEY:
                raise DataError(f"{self._place(row)} has a key of more than {LONGEST_KEY:,} characters. {COPY_AGAIN}")
        return keys


def _mask(column: Any) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = column.to_numpy(zero_copy_only=False)
    return found


def _texts(column: Any) -> Any:
    """Return a column of the texts that `cell_text` returns of its cells."""
    import pyarrow
    import pyarrow.compute as pc

    if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_boolean(column.type)):
        return pyarrow.array(map(cell_text, column.to_pylist()), pyarrow.string())
    return pc.utf8_trim_whitespace(pc.fill_null(column.cast(pyarrow.string()), ""))


def _size(cell: Any) -> int:
    """Return a size in bytes; below 0 where the cell tells none."""
    try:
        return int(cell)
    except (TypeError, ValueError, OverflowError):
        return -1


def _time(cell: object) -> datetime | None:
    """Return the time in a cell; None where it tells none."""
    try:
        found = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell_text(cell).strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _text(key: object, where: str) -> str:
    """Return a key of Parquet, whose column may be one of bytes."""
    if not isinstance(key, bytes):
        return key if isinstance(key, str) else ""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _undecodable(repr(key), where) from None


def _decoded(key: str, where: str) -> str:
    """Return a key as the listing of S3 has it: CSV has it URL-encoded."""
    try:
        if not _BAD_ESCAPE.search(key):
            return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        pass
    raise _undecodable(key, where)


def _undecodable(key: str, where: str) -> DataError:
    return DataError(f"{where}: the key {shown(key)} cannot be decoded. {COPY_AGAIN}")
