"""Training sets as Hugging Face image Parquet: `train-00000-of-00005.parquet` and the like, images inside.

A row holds `image`, a struct of `bytes` and `path` or the bytes themselves, and its identity in one of `label`,
`identity`, `labels`, `class`. Names of identities come from the schema's metadata, as `datasets` writes it:
https://huggingface.co/docs/datasets/image_dataset. Rows are read by the row group.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import Ints, SourceFolder, TrainingSource
from oaml_core.data.sources.rounded import rounded_floats, rounded_texts
from oaml_core.data.sources.text import is_missing, one_spelling
from oaml_core.data.sources.training_source import NO_BYTES
from oaml_core.errors import DataError
from oaml_core.folder_entries import shown
from oaml_core.structured_text import json_or_none

IMAGE = "image"
LABELS = ("label", "identity", "labels", "class")
FOLDERS = (".", "data", "train")
KEPT_GROUPS = 8
"""Row groups whose images are kept in memory, as neighbours are read one after another."""


def find_image_parquet(folder: SourceFolder) -> list[str]:
    """Return the Parquet files of a source that are of the training split: those named `train…`, at the top or in
    `data/` or `train/`.
    """
    paths = [PurePosixPath(name) for name in folder.files if name.endswith(".parquet")]
    usual = [path for path in paths if path.parent.as_posix() in FOLDERS]
    return [path.as_posix() for path in usual if path.name.startswith("train") or path.parent.name == "train"]


def holds_images(folder: SourceFolder, name: str) -> bool:
    """Return True if a Parquet file holds images themselves, not their paths; raises DataError if it is damaged."""
    return IMAGE in open_parquet(folder, name).schema_arrow.names


class ImageParquetSource(TrainingSource):
    """The rows of all files, in order; opening it reads the column of identities alone.

    Args:
        folder: the source.
        files: of the set; None: those of the training split.
    """

    kind = "image_parquet"

    mend = "give the rows that are set aside an identity, or remove them"

    def __init__(self, folder: SourceFolder, files: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.files = self.used = find_image_parquet(folder) if files is None else list(files)
        self.notes: list[str] = []
        self.damaged: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, Any] = OrderedDict()
        self._numbers: dict[Any, int] = {}
        self._names: list[str] | None = None
        rows: list[Any] = []
        labels: list[Any] = []
        groups: list[Any] = []
        self._group_of: list[tuple[int, int]] = []
        for number, name in enumerate(self.files):
            self._read_labels(number, name, rows, labels, groups)
        self.rows = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int32)
        self.groups = np.concatenate(groups) if groups else np.zeros(0, dtype=np.int32)
        self.labels = np.concatenate(labels) if labels else np.zeros(0, dtype=np.int64)
        self.identities = list(self._numbers)
        self.notes += rounded_texts((name for name in self.identities if isinstance(name, str)), ", ".join(self.files))
        if not len(self.labels):
            raise DataError(f"{folder.uri}: no row of {', '.join(self.files)} has an image and an identity.")

    def _read_labels(self, number: int, name: str, rows: list[Any], labels: list[Any], groups: list[Any]) -> None:
        file = open_parquet(self.folder, name)
        columns = file.schema_arrow.names
        column = next((one for one in LABELS if one in columns), None)
        if column is None or IMAGE not in columns:
            raise DataError(
                f"{self.folder.where(name)} has the columns {', '.join(columns)}; it needs {IMAGE} and one of "
                f"{', '.join(LABELS)}."
            )
        self._names = self._names or _class_names(file.schema_arrow, column)
        largest: list[float] = []
        for group in range(file.num_row_groups):
            with reading_parquet(self.folder, name):
                found = [_identity(v) for v in file.read_row_group(group, columns=[column])[column].to_pylist()]
            largest.append(max((value for value in found if _is_finite(value)), default=0.0))
            unlabelled = (-1,) if self._names else ()  # how `datasets` labels what has no label
            usable = [row for row, value in enumerate(found) if not is_missing(str(value)) and value not in unlabelled]
            self.damaged += [
                (f"{name} group {group} row {row}", "the row has no identity")
                for row in sorted(set(range(len(found))) - set(usable))
            ]
            numbers = [self._numbers.setdefault(found[row], len(self._numbers)) for row in usable]
            rows.append(np.array(usable, dtype=np.int32))
            labels.append(np.array(numbers, dtype=np.int64))
            groups.append(np.full(len(usable), len(self._group_of), dtype=np.int32))
            self._group_of.append((number, group))
        self.notes += rounded_column(file.schema_arrow, column, largest, name)

    def read(self, index: int) -> bytes:
        images = self._images(int(self.groups[index]))
        row = int(self.rows[index])
        if row >= len(images):
            raise DataError(
                f"{self.name(index)}: the column {IMAGE} has {amount(len(images), 'row')}, fewer than the labels."
            )
        return image_bytes(images[row].as_py(), "")

    def _images(self, group: int) -> Any:
        with self._lock:
            if group in self._groups:
                self._groups.move_to_end(group)
                return self._groups[group]
            file, place = self._group_of[group]
            with reading_parquet(self.folder, self.files[file]):
                found = open_parquet(self.folder, self.files[file]).read_row_group(place, columns=[IMAGE])[IMAGE]
            self._groups[group] = found
            while len(self._groups) > KEPT_GROUPS:
                self._groups.popitem(last=False)
            return found

    def name(self, index: int) -> str:
        file, group = self._group_of[int(self.groups[index])]
        return f"{self.files[file]} group {group} row {int(self.rows[index])}"

    def identity_name(self, label: int) -> str:
        value = self.identities[label]
        names = self._names
        return names[value] if names and isinstance(value, int) and 0 <= value < len(names) else str(value)

    def find(self, wanted: Sequence[str]) -> Ints:
        numbers = {self.name(number): number for number in range(len(self))}
        unknown = next((name for name in wanted if name not in numbers), None)
        if unknown is not None:
            raise DataError(f"data.subset names {unknown!r}; rows are named `file.parquet group 0 row 0`.")
        return np.array([numbers[name] for name in wanted], dtype=np.int64)


def _identity(value: Any) -> Any:
    """Return an identity in the spelling that all its spellings share; numbers as they are."""
    return one_spelling(cell_text(value)) if isinstance(value, str | bytes) else value


def cell_text(value: object) -> str:
    """Return a cell as the text that a list would have; empty where there is no value."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return (value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)).strip()


def rounded_column(schema: Any, column: str, values: Iterable[object], where: str) -> list[str]:
    """Warn if a column numbers people by floats that are not exact.

    Args:
        schema: of the file, Arrow's.
        column: of the identities.
        values: its cells.
        where: the file, for the message.
    """
    import pyarrow.types

    if column not in schema.names or not pyarrow.types.is_floating(kind := schema.field(column).type):
        return []
    numbers = [value for value in values if _is_finite(value)]
    return rounded_floats(max(numbers, default=0.0), kind.bit_width, f"{where}, column {column},")


def _is_finite(value: object) -> TypeGuard[float]:
    """Return True for a float that is a number."""
    return isinstance(value, float) and math.isfinite(value)


def image_bytes(value: object, where: str) -> bytes:
    """Return the encoded image in a cell: bytes, or a struct that holds them; raises DataError where there is none."""
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes) or not data:
        named = value.get("path") if isinstance(value, dict) else None
        raise DataError(f"{where}{': ' * bool(where)}{NO_BYTES}" + (f", only the path {shown(named)}" if named else ""))
    return data


@contextmanager
def reading_parquet(folder: SourceFolder, name: str) -> Iterator[None]:
    """Name a file of the folder where rows of it cannot be read; raises as `parsing_parquet` does."""
    with parsing_parquet(folder.where(name)), folder.lost.parsing(name):
        yield


@contextmanager
def parsing_parquet(where: str) -> Iterator[None]:
    """Name the file where rows of it cannot be read.

    Args:
        where: the file, for messages.

    Raises:
        DataError: in place of what the library raises.
    """
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where} is damaged: its rows cannot be read ({reason}). Copy it again.") from None


def open_parquet(folder: SourceFolder, name: str) -> Any:
    """Open a Parquet file, without reading its rows; raises DataError if it is none."""
    import pyarrow
    import pyarrow.parquet

    try:
        with folder.lost.parsing(name):
            return pyarrow.parquet.ParquetFile(folder.local(name), memory_map=True)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{folder.where(name)} is no Parquet file ({error}).") from None


def _class_names(schema: Any, column: str) -> list[str] | None:
    """Return the names of a `ClassLabel`, if the file says them."""
    try:
        features = json_or_none((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, IndexError):
        return None
    return list(map(str, names)) if isinstance(names, list) else None
