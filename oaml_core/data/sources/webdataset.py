"""Training sets as WebDataset shards: `*.tar` files of images, each with a file of its key that says whom it shows.

The key of a file is its name up to the first dot of its last part. Beside `<key>.jpg` stands `<key>.cls` or `<key>.txt`
(a number or a name), or `<key>.json` with one of the keys `identity`, `label`, `cls`, `class`. Format:
https://github.com/webdataset/webdataset. Only headers are read at first; where an image stands takes 24 bytes.
"""

from __future__ import annotations

import re
import tarfile
from array import array
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from oaml_core.data.sources.base import Ints, SourceFolder, TrainingSource
from oaml_core.data.sources.text import is_missing, one_spelling
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.structured_text import json_or_none

LABEL_SUFFIXES = ("cls", "txt", "json")
LABEL_KEYS = ("identity", "label", "cls", "class")
LONGEST_LABEL = 1 << 16
"""Bytes of a file that says whom an image shows."""
HEADER_BYTES = 512
"""A member's last header stands directly before its content (POSIX.1-1988, ustar)."""
SHARD_SUFFIX = ".tar"
VALIDATION_SPLITS = ("val", "valid", "validation", "test", "dev", "eval")
"""Beginnings of the names of shards that are not trained on."""
_SPLIT = re.compile(r"[^a-z]")


def find_shards(folder: SourceFolder) -> list[str]:
    """Return the names of the training shards of a source: in `train/`, or at the top and not of another split."""
    return [
        name
        for name in folder.files
        if name.lower().endswith(SHARD_SUFFIX)
        and (parent := PurePosixPath(name).parent.as_posix()) in (".", "train")
        and (parent == "train" or split_of(PurePosixPath(name).name) not in VALIDATION_SPLITS)
    ]


def split_of(name: str) -> str:
    """Return what the name of a shard begins with, in lower case: `val` of `val-000.tar`."""
    return _SPLIT.split(name.lower(), maxsplit=1)[0]


class _Sample(NamedTuple):
    """Parts of a sample: the files of one key that have been read."""

    key: str
    offset: int
    """Place of the image in the shard, in bytes; -1: none yet."""
    size: int
    identity: str | None


class WebDatasetSource(TrainingSource):
    """The images of all shards, in the order of the shards' names and of their members.

    Args:
        folder: the source.
        shards: of the set; None: those of the training split.
    """

    kind = "webdataset"
    mend = "give the samples that are set aside a .cls, .txt or .json, and copy shards again that are cut off"

    def __init__(self, folder: SourceFolder, shards: Sequence[str] | None = None) -> None:
        self.folder = folder
        self.readers = folder.readers
        self.shards = self.used = find_shards(folder) if shards is None else list(shards)
        self.notes: list[str] = []
        self.damaged: list[tuple[str, str]] = []
        self._numbers: dict[str, int] = {}
        self._places, labels = array("q"), array("q")
        for number, shard in enumerate(self.shards):
            self._read_shard(number, shard, labels)
        if not labels:
            why = f"; {self.damaged[0][0]}: {self.damaged[0][1]}" if self.damaged else ""
            raise DataError(
                f"{folder.uri}: no shard holds an image with a label of the same key (.cls, .txt or .json){why}. "
                "Unpack an archive of folders that are called after people."
            )
        self.places = np.frombuffer(self._places, dtype=np.int64).reshape(-1, 3)
        self.identities = list(self._numbers)
        self.labels = np.frombuffer(labels, dtype=np.int64).copy()

    def read(self, index: int) -> bytes:
        shard, offset, size = map(int, self.places[index])
        return self.folder.read_range(self.shards[shard], offset, size)

    def name(self, index: int) -> str:
        shard, offset, _ = map(int, self.places[index])
        header = self.folder.read_range(self.shards[shard], offset - HEADER_BYTES, HEADER_BYTES)
        name, prefix = (part.split(b"\0")[0].decode(errors="replace") for part in (header[:100], header[345:500]))
        return f"{self.shards[shard]}/{prefix}{'/' if prefix else ''}{name}"

    def identity_name(self, label: int) -> str:
        return self.identities[label]

    def find(self, wanted: Sequence[str]) -> Ints:
        left = dict.fromkeys(wanted, -1)
        for number in range(len(self)):
            name = self.name(number)
            if name in left:
                left[name] = number
        unknown = next((name for name, number in left.items() if number < 0), None)
        if unknown is not None:
            raise DataError(f"data.subset names {unknown!r}; images of shards are named `shard.tar/key.jpg`.")
        return np.array([left[name] for name in wanted], dtype=np.int64)

    def _read_shard(self, number: int, shard: str, labels: array[int]) -> None:
        sample: _Sample | None = None
        try:
            archive: Any
            with self.folder.lost.parsing(shard), tarfile.open(self.folder.local(shard), "r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members.clear()  # it would keep all of them
                    if not member.isfile():
                        continue
                    sample = self._next(sample, archive, member, number, labels)
        except (tarfile.TarError, OSError) as error:
            self.damaged.append((shard, f"the shard cannot be read further ({error})"))
        self._finish(sample, number, labels)

    def _next(
        self,
        sample: _Sample | None,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        shard: int,
        labels: array[int],
    ) -> _Sample:
        """Take in one member; a sample is finished when the next key begins."""
        path = PurePosixPath(member.name)
        stem, _, suffix = path.name.partition(".")
        key = (path.parent / stem).as_posix()
        if sample is None or sample.key != key:
            self._finish(sample, shard, labels)
            sample = _Sample(key, -1, 0, None)
        last = suffix.lower().rpartition(".")[2]
        if f".{last}" in IMAGE_SUFFIXES and sample.offset < 0:
            return sample._replace(offset=member.offset_data, size=member.size)
        if last in LABEL_SUFFIXES and member.size <= LONGEST_LABEL:
            content = archive.extractfile(member)
            found = None if content is None else label_in(content.read(), last, LABEL_KEYS)
            return sample if found is None else sample._replace(identity=found)
        return sample

    def _finish(self, sample: _Sample | None, shard: int, labels: array[int]) -> None:
        if sample is None or sample.offset < 0:
            return
        if sample.identity is None:
            self.damaged.append((f"{self.shards[shard]}/{sample.key}", "no file of its key says whom it shows"))
            return
        self._places.extend((shard, sample.offset, sample.size))
        labels.append(self._numbers.setdefault(sample.identity, len(self._numbers)))


def label_in(content: bytes, suffix: str, keys: Sequence[str]) -> str | None:
    """Return what a label file says; None if it says nothing.

    Args:
        content: of the file.
        suffix: `cls`, `txt` or `json`.
        keys: of a JSON object, the first that has a value is taken.
    """
    try:
        text = content.decode("utf-8-sig").strip()
        if suffix != "json":
            return None if is_missing(text) else one_spelling(text)
    except ValueError:
        return None
    found = json_or_none(text)
    if isinstance(found, dict):
        found = next((found[key] for key in keys if not is_missing(str(found.get(key, "")))), None)
    return None if isinstance(found, (dict, list)) or is_missing(str(found)) else one_spelling(str(found).strip())
