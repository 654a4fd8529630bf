"""The lists of IJB-B and IJB-C, as InsightFace distributes them: which image belongs to which template.

| file, in the folder or in `meta/` | a line |
|---|---|
| `ijbc_face_tid_mid.txt` | image, template, medium |
| `ijbc_name_5pts_score.txt` | image, five points x y in its pixels, score of the detector |
| `ijbc_template_pair_label.txt` | template, template, 1 (same person) or 0 |
| `ijbc_11_G1_G2_matches.csv`, of NIST, where that is not there | template, template, cut by a comma |
| `ijbc_1N_gallery_G1.csv`, `…_G2.csv` | TEMPLATE_ID, SUBJECT_ID and more, with a header |
| `ijbc_1N_probe_mixed.csv` | the same |

Whether a pair of NIST's list shows one person follows from SUBJECT_ID in the other lists.

Images lie in `loose_crop/`, or beside the lists. Source: https://github.com/deepinsight/insightface, evaluation/IJB.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.evaluation.templates.listed_images import (
    content_of_images,
    image_folder,
    read_faces,
    read_points,
    separator_of,
)
from oaml_core.evaluation.templates.rosters import FACES, Floats, Ints, Roster, read_roster, rows_of, subject_of
from oaml_core.folder_entries import files_below, no_folder

POINTS = "_name_5pts_score.txt"
PAIRS = "_template_pair_label.txt"
GALLERY = re.compile(r"_1n_gallery_\w+\.csv$", re.IGNORECASE)
PROBES = re.compile(r"_1n_probe_mixed\.csv$", re.IGNORECASE)
MATCHES = re.compile(r"_matches\.csv$", re.IGNORECASE)
LIST_FOLDERS = (".", "meta")
LONGEST_PAIR = 100
"""Characters in a line of two templates and a label."""
LINES_AT_ONCE = 1_000_000
"""Pairs that are read at a time: 24 MB."""


@dataclass(frozen=True)
class TemplateLists:
    """Images, their templates, and what is to be compared."""

    name: str
    """`ijbb`, `ijbc`, or what else the lists' names begin with."""
    images: Path
    """Folder of the images."""
    names: list[str]
    """[n] images."""
    template: Ints
    """[n], row of each image's template."""
    medium: Ints
    """[n], number of the photograph or video."""
    points: Floats | None
    """[n, 5, 2] in pixels of the image; None: the images are aligned."""
    detection: Floats | None
    """[n], score of the detector; None: not known."""
    ids: Ints
    """[T], numbers of the templates, ascending."""
    pairs: Path | None
    """List of template pairs."""
    subjects: Ints | None
    """[T], person of each template, -1 where no list names one; None: the list of pairs says who is the same."""
    galleries: tuple[Roster, ...]
    probes: Roster | None
    notes: tuple[str, ...] = ()
    """Oddities of the lists that stop nothing."""

    @cached_property
    def content(self) -> str:
        """Digest of the content of all images, each of which is read for it, hexadecimal."""
        return content_of_images(self.images, self.names)


def read_lists(folder: Path) -> TemplateLists:
    """Read the lists of a folder; of the pairs only where they are.

    Args:
        folder: holds the lists, or `meta/` with them, and the images.

    Raises:
        DataError: the lists are missing, damaged or do not fit together, or an image is missing.
    """
    if not folder.is_dir():
        raise DataError(
            f"Templates: {no_folder(folder)}. Give the folder that holds meta/ and loose_crop/, such as IJBC."
        )
    present, lists = set(), []
    for entry in files_below(folder, leave=True):
        if entry.reason is None:
            present.add(entry.name)
            if str(Path(entry.name).parent) in LIST_FOLDERS:
                lists.append(entry.path)
    faces = _one(folder, lists, FACES)
    name = faces.name.removesuffix(FACES)
    names, template_ids, medium, notes = read_faces(faces)
    ids, template = np.unique(template_ids, return_inverse=True)
    points_file = faces.with_name(name + POINTS)
    points, detection = read_points(points_file, names, template_ids) if points_file in lists else (None, None)
    images, unused = image_folder(folder, names, present)
    pairs = faces.with_name(name + PAIRS)
    galleries = tuple(read_roster(file, ids) for file in _each_once(lists, GALLERY))
    probes = next((read_roster(file, ids) for file in _each_once(lists, PROBES)), None)
    labelled = pairs if pairs in lists else None
    matches = None if labelled else _matches(folder, lists)
    if not (labelled or matches or (galleries and probes)):
        raise DataError(f"{folder} has neither {name}{PAIRS} nor a gallery and probes ({name}_1N_….csv).")
    rosters = [*galleries, *([probes] if probes else [])]
    return TemplateLists(
        name=name,
        images=images,
        names=names,
        template=template.astype(np.int64),
        medium=medium,
        points=points,
        detection=detection,
        ids=ids,
        pairs=labelled or matches,
        subjects=None if matches is None else subject_of(matches, rosters, len(ids)),
        galleries=galleries if probes else (),
        probes=probes if galleries else None,
        notes=(*notes, *unused),
    )


def _each_once(lists: list[Path], names: re.Pattern[str]) -> list[Path]:
    """Return the lists of these names, by name; raises DataError for one that lies there twice."""
    found = sorted((file for file in lists if names.search(file.name)), key=lambda file: file.name.lower())
    for one, other in pairwise(found):
        if one.name.lower() == other.name.lower():
            raise DataError(f"{one} and {other} are lists of one name. Remove one of them.")
    return found


def _matches(folder: Path, lists: list[Path]) -> Path | None:
    """Return NIST's list of pairs without labels; raises DataError where several lists may be meant."""
    found = sorted(file for file in lists if MATCHES.search(file.name))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise DataError(f"{folder} has several lists of pairs ({names}). Leave the one to measure with there.")
    return found[0] if found else None


def read_pairs(
    file: Path, ids: Ints, subjects: Ints | None = None
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]]:
    """Yield rows of both templates and whether they show one person, a million pairs at a time.

    Args:
        file: list of pairs.
        ids: [T], numbers of the templates, ascending.
        subjects: [T], person of each template, -1 where not known; None: each line says whether they are the same.

    Raises:
        DataError: a line is no pair, or names a template without images or of nobody.
    """
    read = 0
    wanted = "two templates and 1 or 0" if subjects is None else "two templates"
    columns = 3 if subjects is None else 2
    with file.open(encoding="utf-8-sig") as lines:
        try:
            cut = separator_of(lines.readline(LONGEST_PAIR))
        except UnicodeDecodeError as error:
            raise DataError(f"{file} is not UTF-8 ({error}); save it as UTF-8.") from None
        lines.seek(0)
        while True:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that nothing is left is how the end is seen
                    block = np.loadtxt(_short(lines), np.int64, delimiter=cut, max_rows=LINES_AT_ONCE, ndmin=2)
            except (ValueError, UnicodeDecodeError) as error:
                raise DataError(f"{file}, after line {read}: {error}; a line has {wanted}.") from None
            if not block.size:
                return
            if block.shape[1] != columns or (subjects is None and not np.isin(block[:, 2], (0, 1)).all()):
                raise DataError(f"{file}, after line {read}: a line has {wanted}.")
            first, second = (rows_of(file, block[:, column], ids).astype(np.int32) for column in (0, 1))
            if (same := np.flatnonzero(first == second)).size:
                raise DataError(
                    f"{file} compares template {block[same[0], 0]} with itself, line {read + int(same[0]) + 1} but for "
                    "empty ones. Remove the line."
                )
            read += len(block)
            if subjects is None:
                yield first, second, block[:, 2] == 1
                continue
            whose = subjects[first], subjects[second]
            unknown = np.flatnonzero((whose[0] == -1) | (whose[1] == -1))
            if unknown.size:
                raise DataError(
                    f"{file} names the pair {', '.join(map(str, block[unknown[0]]))}, and no list (*_1N_….csv) says "
                    "whom both templates show: copy the galleries and the probes there."
                )
            yield first, second, whose[0] == whose[1]


def _short(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines; raises ValueError for one that is too long for three numbers, for which numpy would make room."""
    for line in lines:
        if len(line) > LONGEST_PAIR:
            raise ValueError(f"a line has {amount(len(line), 'character')}")
        yield line


def _one(folder: Path, lists: list[Path], ending: str) -> Path:
    found = [file for file in lists if file.name.endswith(ending)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{folder} has {len(found)} lists *{ending}; give the folder of one data set.")
    raise DataError(
        f"{folder} has no list *{ending}, at the top or in meta/. docs/benchmark.md says where IJB-B and IJB-C come "
        "from, and how the folder looks."
    )
