"""Lists of image and label without a header: `train.txt` and `val.txt` as for ImageNet, `train.lst` of MXNet.

A line is `path label`, cut by blanks or a tab; `number<tab>label<tab>path` as MXNet's `im2rec` writes it; or
`1<tab>path<tab>label …` as InsightFace does. Paths are relative to the list's folder, to a folder beside it of the
list's name (`val.txt`, `val/`), or to the only folder of images in the source, as CelebA's `identity_CelebA.txt` has
it. Sources: https://mxnet.apache.org/api/faq/recordio,
https://github.com/BVLC/caffe/blob/master/data/ilsvrc12/get_ilsvrc_aux.sh.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from oaml_core.data.sources.base import SourceFolder
from oaml_core.data.sources.image_folder import ImageFileSource, only_folder
from oaml_core.data.sources.listed_once import ListedFile, listed_once, mend_lines
from oaml_core.data.sources.rounded import rounded_texts
from oaml_core.data.sources.text import decode_text, is_missing, one_spelling
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.folder_entries import forges_lines, shown

TRAINING_LISTS = ("train.lst", "train.txt", "identity_CelebA.txt")
LOOKED_AT = 4096
"""Bytes at the start of a file that show whether it lists images."""


def is_labelled_list(folder: SourceFolder, file: str) -> bool:
    """Return True if the first line of a text file names an image and a label."""
    start = folder.read_range(file, 0, LOOKED_AT)
    try:
        text = decode_text(start, file)
    except DataError:  # a character may be cut at the end
        text = start.decode(errors="replace")
    first = next((line for line in text.splitlines() if line.strip()), "")
    return _entry(first) is not None


class LabelledListSource(ImageFileSource):
    """The images that such a list names, in its order; lines that lack a part are set aside."""

    kind = "labelled_list"

    def __init__(self, folder: SourceFolder, file: str) -> None:
        where = folder.where(file)
        read: list[ListedFile] = []
        set_aside: list[tuple[str, str]] = []
        only = only_folder(folder.files)
        for number, line in enumerate(decode_text(folder.read(file), where).splitlines(), start=1):
            if not line.strip():
                continue
            entry = _entry(line)
            if entry is None or is_missing(entry[1]) or any(map(forges_lines, entry)):
                set_aside.append((f"{file} line {number}", f"{shown(line.strip())} is not an image and its label"))
                continue
            read.append(ListedFile(_place(folder, file, entry[0], only), entry[1], f"line {number}"))
        listed = listed_once(read, file)
        if not listed.files:
            raise DataError(f"{where} lists no image with a label.")
        labels = [each.identity for each in listed.files]
        super().__init__(folder, [each.path for each in listed.files], labels)
        self.used.add(file)
        self.damaged = [*set_aside, *listed.set_aside]
        self.mend = mend_lines(file)
        self.notes += [*listed.notes, *rounded_texts(labels, file)]


def _entry(line: str) -> tuple[str, str] | None:
    """Return path and label of a line; None if it has no image and label."""
    if "\t" in line:
        fields = [field.strip() for field in line.split("\t")]
    else:
        fields = [field.strip() for field in line.rsplit(None, 1)]
        if len(fields) == 2 and _is_image(fields[1]) and not _is_image(fields[0]):
            fields = [field.strip() for field in line.split(None, 1)]
    places = [place for place, field in enumerate(fields) if _is_image(field)]
    if len(places) != 1 or len(fields) < 2:
        return None
    place = places[0]
    if len(fields) == 2:
        label = fields[1 - place]
    elif place == len(fields) - 1:  # im2rec: number, labels, path
        label = fields[1]
    else:  # InsightFace: aligned or not, path, label, landmarks
        label = fields[place + 1]
    return fields[place], one_spelling(label)


def _is_image(text: str) -> bool:
    return PurePosixPath(text.replace("\\", "/")).suffix.lower() in IMAGE_SUFFIXES


def _place(folder: SourceFolder, file: str, path: str, only: str) -> str:
    """Return the image's name in the source; raises DataError if it would leave the source."""
    plain = PurePosixPath(path.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts:
        raise DataError(f"{folder.where(file)}: {path!r} leaves the source folder; use relative paths.")
    listed = PurePosixPath(file)
    beside = folder.listed((listed.parent / plain).as_posix())
    inside = folder.listed((listed.parent / listed.stem / plain).as_posix())
    places = (beside, inside, folder.listed(only + plain.as_posix()))
    return next((place for place in places if place in folder), beside)
