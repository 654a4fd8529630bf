"""Training sets as a list: `train.csv` or `train.parquet` with the columns `path` and `identity`.

Paths are relative to the source folder.
"""

from __future__ import annotations

import io

from oaml_core.amounts import first_of
from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.image_folder import ImageFileSource
from oaml_core.data.sources.image_parquet import cell_text, parsing_parquet, rounded_column
from oaml_core.data.sources.listed_once import ListedFile, listed_once, mend_lines
from oaml_core.data.sources.rounded import rounded_texts
from oaml_core.data.sources.text import Table, is_missing, one_spelling, read_table
from oaml_core.errors import DataError
from oaml_core.folder_entries import UNPRINTABLE, forges_lines, shown

LISTS = ("train.csv", "train.parquet")
COLUMNS = ("path", "identity")


class ImageListSource(ImageFileSource):
    """The images that a list names, in its order."""

    kind = "image_list"

    def __init__(self, folder: SourceFolder) -> None:
        self.list_name = next(name for name in LISTS if name in folder)
        read, set_aside, notes = _read(folder, self.list_name)
        listed = listed_once(read, self.list_name)
        set_aside += listed.set_aside
        if not listed.files:
            reason = f": {set_aside[0][0]}: {set_aside[0][1]}" if set_aside else ""
            raise DataError(f"{folder.where(self.list_name)} lists no image{reason}.")
        paths, identities = [file.path for file in listed.files], [file.identity for file in listed.files]
        outside = next((path for path in paths if path.startswith("/") or ".." in path.split("/")), None)
        if outside is not None:
            raise DataError(
                f"{folder.where(self.list_name)}: {outside!r} leaves the source folder; use relative paths."
            )
        super().__init__(folder, paths, identities)
        self.used.add(self.list_name)
        self.damaged = set_aside
        self.mend = mend_lines(self.list_name)
        self.notes += [*notes, *listed.notes, *rounded_texts(identities, self.list_name)]


def _read(folder: SourceFolder, name: str) -> tuple[list[ListedFile], list[tuple[str, str]], list[str]]:
    """Read the lines, the (name, reason) of those that lack path or identity, and notes for the report."""
    data = folder.read(name)
    where = folder.where(name)
    table, notes = (read_table(data, where), []) if name.endswith(".csv") else _parquet(data, where, name)
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        there = f"; its columns are {first_of(map(shown, table.columns))}" if table.columns else ""
        needs = f"it needs {', '.join(COLUMNS)}{there}"
        raise DataError(f"{folder.where(name)} lacks the column {missing[0]!r}; {needs}.")
    listed, set_aside = [], []
    for number, (path, identity) in enumerate(zip(table.columns["path"], table.columns["identity"], strict=True)):
        reason = _fault(path, identity)
        line = f"line {table.lines[number]}" if name.endswith(".csv") else f"row {number}"
        if reason:
            set_aside.append((f"{shown(path) or name} ({line})", f"{name} gives it {reason}"))
        else:
            listed.append(ListedFile(folder.listed(path), one_spelling(identity), line))
    return listed, set_aside, notes


def _fault(path: str, identity: str) -> str:
    """Return why a line is not used, empty if it is."""
    values = dict(zip(COLUMNS, (path, identity), strict=True))
    lacking = [column for column, value in values.items() if is_missing(value)]
    if lacking:
        written = f" ({shown(identity)!r} stands for a missing value)" if identity and is_missing(identity) else ""
        return f"no {' and no '.join(lacking)}{written}"
    forging = [column for column, value in values.items() if forges_lines(value)]
    return f"{'a' if forging[0] == 'path' else 'an'} {forging[0]} that is not used ({UNPRINTABLE})" if forging else ""


def _parquet(data: bytes, where: str, name: str) -> tuple[Table, list[str]]:
    import pyarrow.parquet

    with parsing_parquet(where):
        read = pyarrow.parquet.read_table(io.BytesIO(data))
        values = {column: read[column].to_pylist() for column in COLUMNS if column in read.column_names}
        notes = rounded_column(read.schema, "identity", values.get("identity", ()), name)
        return Table({column: [cell_text(value) for value in found] for column, found in values.items()}, []), notes
