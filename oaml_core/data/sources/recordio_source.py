"""Training sets in InsightFace's RecordIO layout: `train.rec`, `train.idx`, `property`.

Landmarks and names are picked up from `train_meta.json` beside it: `{"identities": [name by label, …],
"landmarks_by_record": {"record number": [[x, y] × 5], …}}`, in pixels, in the order left eye, right eye, nose,
left and right mouth corner as they appear in the image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oaml_core.amounts import amount
from oaml_core.data.sources.base import Ints, SourceFolder, TrainingSource
from oaml_core.data.sources.meta import landmarks_of, read_meta, unknown_images
from oaml_core.data.sources.recordio import parse_record
from oaml_core.data.sources.recordio_index import open_index
from oaml_core.data.sources.recordio_remote import remote_index
from oaml_core.data.sources.rounded import EXACT_FLOAT32, rounded_floats
from oaml_core.errors import DataError

NO_RECORD = "no whole record with a usable label stands here"
RECORDS, INDEX, PROPERTY = "train.rec", "train.idx", "property"

SPARSE = 1 << 20
"""Labels that exceed the number of images by this much are arbitrary numbers, not a numbering from 0."""


class RecordIOSource(TrainingSource):
    """The images of one `train.rec`; one in a store that the local disk has no room for is read record by record.

    Args:
        folder: holds the files.
        cache: where the index of a write-protected folder is kept.
    """

    kind = "recordio"
    used = (RECORDS, INDEX, PROPERTY)
    _file: int | None = None

    def __init__(self, folder: SourceFolder, cache: Path | None = None) -> None:
        self.folder = folder
        if folder.fits(RECORDS):
            if INDEX in folder:
                folder.local(INDEX)
            path = folder.local(RECORDS)
            with folder.lost.parsing(RECORDS):
                self.index = open_index(path, cache)
                self._file = os.open(path, os.O_RDONLY)
        else:
            self.index = remote_index(folder, RECORDS, INDEX)
            self.readers = folder.readers
        self.labels = self.index.labels.astype(np.int64)
        self.damaged = [
            (f"record {key}" if key >= 0 else f"byte {offset}", NO_RECORD) for key, offset in self.index.broken
        ]
        largest = int(self.labels.max(initial=0))
        self.notes = [*rounded_floats(largest, 32, RECORDS), *self._property_notes(), *self._coverage_notes()]
        meta = read_meta(folder)
        self.identities: list[str] = meta.get("identities", [])
        if len(self) and int(self.labels.max()) >= len(self) + SPARSE:  # later arrays are as long as the largest
            numbers, self.labels = np.unique(self.labels, return_inverse=True)
            names = self.identities
            self.identities = [names[n] if n < len(names) else str(n) for n in map(int, numbers)]
        known = meta.get("landmarks_by_record", {})
        self.landmarks = landmarks_of(folder, known, map(str, self.index.keys), len(self.index))
        self.notes += unknown_images(folder, known, map(str, self.index.keys))

    def read(self, index: int) -> bytes:
        size, offset = int(self.index.sizes[index]), int(self.index.offsets[index])
        if self._file is None:
            return parse_record(self.folder.read_range(RECORDS, offset, size)).image
        try:
            with self.folder.lost.parsing(RECORDS):
                data = os.pread(self._file, size, offset)
        except OSError as error:
            raise DataError(f"{self.folder.where(RECORDS)} cannot be read: {error.strerror}.") from None
        return parse_record(data).image

    def name(self, index: int) -> str:
        return f"record {self.index.keys[index]}"

    def identity_name(self, label: int) -> str:
        return self.identities[label] if label < len(self.identities) else str(label)

    def find(self, wanted: Sequence[str]) -> Ints:
        try:
            keys = np.array(wanted, dtype=np.int64)
        except (ValueError, OverflowError) as error:
            raise DataError(f"data.subset must hold record numbers, one a line ({error}).") from None
        order = np.argsort(self.index.keys, kind="stable")
        place = np.searchsorted(self.index.keys, keys, sorter=order).clip(max=len(self) - 1)
        found = order[place]
        unknown = keys[self.index.keys[found] != keys]
        if len(unknown):
            raise DataError(
                f"data.subset names record {unknown[0]}, which {self.folder.where(RECORDS)} does not have as an image."
            )
        result: Ints = found
        return result

    def folder_order(self) -> Ints:
        """Return the order that the records have once `convert.py` of AdaFace made `<label>/<record>.jpg` of them."""
        if self.damaged:
            raise DataError(
                f"{self.folder.where(RECORDS)} has {amount(len(self.damaged), 'broken record')}, so positions "
                "cannot be counted in it: copy it again, or name records one a line."
            )
        labels, keys = (np.asarray(values).astype(np.str_) for values in (self.index.labels, self.index.keys))
        return np.lexsort((keys, labels))

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    def _property_notes(self) -> list[str]:
        if PROPERTY not in self.folder:
            return []
        text = self.folder.read(PROPERTY).decode(errors="replace").strip()
        try:
            classes = int(text.split(",")[0])
        except ValueError:
            return [f"property says {text!r} instead of `classes,height,width`"]
        found = int(self.labels.max()) + 1 if len(self) else 0
        if classes == found or found > EXACT_FLOAT32:
            return []
        return [f"property announces {amount(classes, 'identity', 'identities')}, the records' labels reach {found}"]

    def _coverage_notes(self) -> list[str]:
        notes = []
        if self.index.bytes_outside and not len(self.index.broken):
            notes.append(
                f"{amount(self.index.bytes_outside, f'byte of {RECORDS} belongs', f'bytes of {RECORDS} belong')} to no "
                f"record that {INDEX} lists"
            )
        header = self.index.spans[self.index.spans[:, 0] == 0]
        announced = int(header[0, 1]) - 1 if len(header) else None
        found = len(self) + len(self.index.broken)
        if announced is None:
            notes.append(f"{RECORDS} has no header record 0: it was cut off, or another tool wrote it")
        elif announced - float(np.spacing(np.float32(announced))) > found and announced > EXACT_FLOAT32:
            notes.append(f"the header of {RECORDS} announces about {amount(announced, 'image')}, {found:,} are there")
        elif found < announced <= EXACT_FLOAT32:
            notes.append(f"the header of {RECORDS} announces {amount(announced, 'image')}, {found:,} are there")
        return notes
