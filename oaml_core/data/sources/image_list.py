"""Training sets as a list: `train.csv` or `train.parquet` with the columns `path` and `identity`.

Paths are relative to the source folder.
"""

from __future__ import annotations

import csv
import io

from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.image_folder import ImageFileSource
from oaml_core.errors import DataError

LISTS = ("train.csv", "train.parquet")
COLUMNS = ("path", "identity")


class ImageListSource(ImageFileSource):
    """The images that a list names, in its order."""

    kind = "image_list"

    def __init__(self, folder: SourceFolder) -> None:
        self.list_name = next(name for name in LISTS if name in folder)
        paths, identities = _read(folder, self.list_name)
        if not paths:
            raise DataError(f"{folder.where(self.list_name)} lists no image.")
        outside = next((path for path in paths if path.startswith("/") or ".." in path.split("/")), None)
        if outside is not None:
            raise DataError(
                f"{folder.where(self.list_name)}: {outside!r} leaves the source folder; use relative paths."
            )
        super().__init__(folder, paths, identities)


def _read(folder: SourceFolder, name: str) -> tuple[list[str], list[str]]:
    data = folder.read(name)
    if name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"))))
        columns = set(rows[0]) if rows else set(COLUMNS)
        table = {column: [str(row[column]) for row in rows] for column in COLUMNS if column in columns}
    else:
        import pyarrow
        import pyarrow.parquet

        try:
            read = pyarrow.parquet.read_table(io.BytesIO(data))
        except pyarrow.ArrowInvalid as error:
            raise DataError(f"{folder.where(name)} is no Parquet file ({error}).") from None
        columns = set(read.column_names)
        table = {c: [str(v) for v in read[c].to_pylist()] for c in COLUMNS if c in columns}
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise DataError(f"{folder.where(name)} lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
    return table["path"], table["identity"]
