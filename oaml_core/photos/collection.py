"""Whole collections of photographs as aligned faces: several processes, resumable, the same result every time."""

from __future__ import annotations

import json
import multiprocessing
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oaml_core.amounts import amount
from oaml_core.errors import DataError, OamlError
from oaml_core.folder_entries import no_folder, regular_files, shown
from oaml_core.photos.detectors import DEFAULT
from oaml_core.photos.doubtful import SHEET, DoubtfulFace, doubts_about, sheet_of
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.files import ENDINGS
from oaml_core.photos.recipe import recipe_digest
from oaml_core.processes import die_with_parent
from oaml_core.progress import progress
from oaml_core.structured_text import json_or_none
from oaml_core.whole_file import written_whole

LANDMARKS = "landmarks.parquet"
REJECTS = "rejects.csv"
NOTES = ".notes"
"""Folder of a JSON file per photograph that was looked at: what a second run need not do again."""


@dataclass(frozen=True)
class Aligned:
    """The result of `align_folder`."""

    faces: int
    rejects: int
    doubtful: int
    """Faces that a person should look at; the least sure are on the sheet."""
    out: Path
    outdated: int = 0
    """Faces of an earlier run that were deleted: their photographs are gone, or show them no more."""

    def __str__(self) -> str:
        said = (
            f"{amount(self.faces, 'face')} aligned, {amount(self.rejects, 'photograph')} rejected "
            f"({self.out / REJECTS})"
        )
        if self.outdated:
            said += f", {amount(self.outdated, 'outdated face')} of an earlier run deleted"
        return f"{said}, {amount(self.doubtful, 'face')} doubtful ({self.out / SHEET})" if self.doubtful else said


def align_folder(
    folder: Path, out: Path, *, size: int = 112, workers: int = 1, every: bool = False, detector: str = DEFAULT
) -> Aligned:
    """Align the faces of all photographs below a folder.

    `out` gets the faces as PNG under the photographs' own paths, `landmarks.parquet` with a row per face, `rejects.csv`
    with the photographs that show none and the reasons, and `doubtful.html`, a page of those to look at. Photographs
    that an earlier run looked at and that have not changed since are not looked at again. Faces that an earlier run
    made of this folder's photographs are deleted where those are gone or show them no more. The result does not depend
    on the number of workers.

    Args:
        folder: photographs, at any depth.
        out: folder to fill, outside of `folder`.
        size: side of the faces in pixels.
        workers: processes.
        every: all faces of each photograph (`<name>_2.png` and so on), not the main one alone.
        detector: name or file, see `open_detector`.

    Raises:
        DataError: there is no such folder, no photograph in it, or `out` lies inside it.
    """
    if not folder.is_dir():
        raise DataError(f"Photographs: {no_folder(folder)}.")
    if out.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{out} lies inside {folder}: the next run would take its faces for photographs. Name another.")
    photographs = sorted(path.relative_to(folder).as_posix() for path in regular_files(folder, ENDINGS))
    if not photographs:
        raise DataError(f"{folder} holds no photograph ({', '.join(ENDINGS)}).")
    jobs = [(str(folder), str(out), name, size, every, detector) for name in photographs]
    notes = list(progress(_looked_at(jobs, workers), len(jobs), "align"))
    outdated = sum(note.get("removed", 0) for note in notes) + _remove_gone(folder, out, set(photographs))
    return _write_lists(out, notes, outdated)


def _looked_at(jobs: list[tuple[str, str, str, int, bool, str]], workers: int) -> Iterator[dict[str, Any]]:
    if workers <= 1:
        yield from map(_look, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=die_with_parent) as pool:
        yield from pool.map(_look, jobs, chunksize=8)


@cache
def _finder(detector: str) -> FaceFinder:
    return FaceFinder(detector)


@cache
def _recipe(detector: str, size: int) -> str:
    return recipe_digest(detector, size)


def _look(job: tuple[str, str, str, int, bool, str]) -> dict[str, Any]:
    """Align the faces of one photograph, unless that was done; returns the note about it."""
    folder, out, name, size, every, detector = Path(job[0]), Path(job[1]), *job[2:]
    source, note = folder / name, out / NOTES / f"{name}.json"
    made: dict[str, Any] = {"photo": name, "folder": str(folder.resolve()), "rows": [], "reason": ""}
    try:
        state = source.stat()
    except OSError as error:  # it has gone since the folder was listed
        return made | {"reason": f"{shown(source)} cannot be read: {error.strerror}."}
    key = [state.st_size, state.st_mtime_ns, _recipe(detector, size), every]
    known = json_or_none(note.read_bytes()) if note.is_file() else None  # a damaged note is written again
    if known is not None:
        usable = isinstance(known, dict) and known.get("key") == key and isinstance(known.get("rows"), list)
        if usable and all((out / row["face"]).is_file() for row in known["rows"]):
            return dict(known)
    made["key"], may_pass = key, False
    try:
        faces = _finder(detector).all_faces(source, size) if every else [_finder(detector).main_face(source, size)]
        if not faces:
            made["reason"] = "no face was found"
    except OamlError as error:
        faces, made["reason"] = [], str(error)
        may_pass = isinstance(error.__context__, OSError)
    for number, face in enumerate(faces, start=1):
        ending = "" if number == 1 else f"_{number}"
        # The photograph's ending stays in the name: a.jpg and a.png may lie side by side.
        target = f"{name}{ending}.png"
        _save(face.image, out / target)
        points = np.full((5, 2), np.nan) if face.points is None else face.points
        box = np.full(4, np.nan) if face.box is None else face.box
        made["rows"].append(
            {
                "face": target,
                "photo": name,
                "score": round(face.score, 4),
                "points": [round(float(value), 3) for value in points.ravel()],
                "box": [round(float(value), 3) for value in box],
                "aligned_already": face.alignment is None,
                "remarks": "; ".join([] if face.quality is None else face.quality.remarks),
                "doubts": "; ".join(doubts_about(face)),
            }
        )
    if not may_pass:  # a disk that failed, or a permission: the next run looks again
        note.parent.mkdir(parents=True, exist_ok=True)
        _write_text(note, json.dumps(made))
        made["removed"] = _remove_faces(out, name, known, {row["face"] for row in made["rows"]})
    return made


def _remove_gone(folder: Path, out: Path, photographs: set[str]) -> int:
    """Delete the faces of photographs that are no longer in the folder; returns how many there were."""
    removed = 0
    for note in regular_files(out / NOTES, (".json",)) if (out / NOTES).is_dir() else ():
        name = note.relative_to(out / NOTES).as_posix().removesuffix(".json")
        if name in photographs:
            continue
        known = json_or_none(note.read_bytes())
        # Of another folder, or in one that cannot be read just now: not this run's to judge.
        if isinstance(known, dict) and known.get("folder") == str(folder.resolve()) and _is_gone(folder / name):
            removed += _remove_faces(out, name, known, set())
            note.unlink(missing_ok=True)
    return removed


def _is_gone(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:
        return False


def _remove_faces(out: Path, name: str, known: Any, kept: set[str]) -> int:
    """Delete the faces of a photograph that its former note lists, but those that are kept; returns how many."""
    rows = known.get("rows") if isinstance(known, dict) else None
    faces = {row.get("face") for row in rows if isinstance(row, dict)} if isinstance(rows, list) else set()
    removed = 0
    for face in faces - kept:
        # The names that `_look` gives, and no others: a note may have been changed.
        if isinstance(face, str) and re.fullmatch(rf"{re.escape(name)}(_\d+)?\.png", face) and (out / face).is_file():
            (out / face).unlink()
            removed += 1
    return removed


def _save(image: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        Image.fromarray(image).save(partial, "PNG")


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _write_lists(out: Path, notes: list[dict[str, Any]], outdated: int) -> Aligned:
    import csv
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row for note in notes for row in note["rows"]]
    out.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [
            ("face", pa.string()),
            ("photo", pa.string()),
            ("score", pa.float64()),
            ("points", pa.list_(pa.float64(), 10)),
            ("box", pa.list_(pa.float64(), 4)),
            ("aligned_already", pa.bool_()),
            ("remarks", pa.string()),
            ("doubts", pa.string()),
        ]
    )
    with written_whole(out / LANDMARKS) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema), partial)
    rejects = [(note["photo"], note["reason"]) for note in notes if note["reason"]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("photo", "reason"), *rejects])
    _write_text(out / REJECTS, text.getvalue())
    doubtful = [DoubtfulFace(row["face"], row["photo"], row["score"], row["doubts"]) for row in rows if row["doubts"]]
    if doubtful:
        _write_text(out / SHEET, sheet_of(doubtful))
    else:
        (out / SHEET).unlink(missing_ok=True)
    return Aligned(len(rows), len(rejects), len(doubtful), out, outdated)
