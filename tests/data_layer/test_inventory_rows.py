"""Rows of an inventory are taken apart by columns, whatever types those have, and wrong ones are named by number."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from oaml_core.data.sources import inventory_rows
from oaml_core.data.sources.inventory_rows import InventoryRows, csv_rows, parquet_rows
from oaml_core.errors import DataError

SCHEMA = "Bucket, Key, IsLatest, IsDeleteMarker, Size, ETag"
NAMES = ("bucket", "key", "is_latest", "is_delete_marker", "size", "e_tag")
ROWS = [("raw", f"p/{number}%2B.jpg", True, False, number, f"{number:032x}") for number in range(50)]
GONE = [("raw", "p/old.jpg", False, False, 9, "0"), ("raw", "p/deleted.jpg", True, True, None, None)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file have several blocks."""
    monkeypatch.setattr(inventory_rows, "ROWS", 7)
    monkeypatch.setattr(inventory_rows, "BLOCK", 400)


def objects(blocks: Iterable[InventoryRows]) -> list[tuple[str, int, str]]:
    found = list(blocks)
    assert len(found) > 5
    assert {bucket for rows in found for bucket in rows.buckets} == {"raw"}
    return [each for rows in found for each in zip(rows.keys, rows.sizes, rows.etags, strict=True)]


def in_csv(path: Path, rows: Iterable[tuple[Any, ...]]) -> Path:
    lines = (",".join(str("" if cell is None else cell) for cell in row) for row in rows)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


def in_parquet(path: Path, rows: Iterable[tuple[Any, ...]], **types: Any) -> Path:
    columns = dict(zip(NAMES, zip(*rows, strict=True), strict=True))
    made = {"key": pyarrow.binary()} | types
    arrays = {
        name: pyarrow.array(cells).cast(made[name]) if name in made else pyarrow.array(cells)
        for name, cells in columns.items()
    }
    pyarrow.parquet.write_table(pyarrow.table(arrays), path)
    return path


def test_earlier_versions_and_markers_are_no_objects(tmp_path: Path) -> None:
    rows = [*ROWS[:20], *GONE, *ROWS[20:]]
    told = [(f"p/{number}+.jpg", number, f"{number:032x}") for number in range(50)]
    assert objects(csv_rows(in_csv(tmp_path / "a", rows), SCHEMA, "here")) == told
    as_written = [(key.replace("+", "%2B"), *rest) for key, *rest in told]
    assert objects(parquet_rows(in_parquet(tmp_path / "b", rows), "here")) == as_written


@pytest.mark.parametrize(
    "types",
    [
        {"key": pyarrow.string()},
        {"key": pyarrow.large_string(), "e_tag": pyarrow.large_string(), "bucket": pyarrow.binary()},
        {"is_latest": pyarrow.string(), "is_delete_marker": pyarrow.string(), "size": pyarrow.string()},
        {"size": pyarrow.uint64(), "bucket": pyarrow.dictionary(pyarrow.int32(), pyarrow.string())},
        {"size": pyarrow.float64()},
    ],
)
def test_columns_of_parquet_may_have_other_types(types: dict[str, Any], tmp_path: Path) -> None:
    plain = objects(parquet_rows(in_parquet(tmp_path / "a", ROWS), "here"))
    assert objects(parquet_rows(in_parquet(tmp_path / "b", ROWS, **types), "here")) == plain


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ({4: -1}, r"'-1' is no size in bytes"),
        ({4: None}, r"'' is no size in bytes"),
        ({1: ""}, r"names no object"),
        ({2: None}, r"'' is neither true nor false"),
    ],
)
def test_a_wrong_row_is_named_by_its_number_in_the_file(cells: dict[int, Any], told: str, tmp_path: Path) -> None:
    wrong = tuple(cells.get(place, cell) for place, cell in enumerate(ROWS[40]))
    rows = [*ROWS[:20], *GONE, *ROWS[20:40], wrong, *ROWS[41:]]
    with pytest.raises(DataError, match=f"here row 43:? ?{told}"):
        list(csv_rows(in_csv(tmp_path / "a", rows), SCHEMA, "here"))
    with pytest.raises(DataError, match=f"here row 43:? ?{told}"):
        list(parquet_rows(in_parquet(tmp_path / "b", rows), "here"))


def test_lines_that_are_no_rows_are_refused(tmp_path: Path) -> None:
    for row, told in {("x",): "here row 51 has 1 columns, and the manifest names 6", (): "here row 51: '' is"}.items():
        path = in_csv(tmp_path / "a", [*ROWS, row, *ROWS])
        with pytest.raises(DataError, match=told):
            list(csv_rows(path, SCHEMA, "here"))
    path.write_bytes(gzip.compress(b'raw,"p/1.jpg,true,false,1,0\n' * 50))
    with pytest.raises(DataError, match=r"here is damaged or cut off \(a line ends within quotes"):
        list(csv_rows(path, SCHEMA, "here"))
    path.write_bytes(gzip.compress(b"raw,p/\xff.jpg,true,false,1,0\n"))
    with pytest.raises(DataError, match=r"here is damaged or cut off .*UTF"):
        list(csv_rows(path, SCHEMA, "here"))


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert list(csv_rows(in_csv(tmp_path / "a", []), SCHEMA, "here")) == []
