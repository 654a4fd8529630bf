"""A probe against a folder of known faces: what `oaml identify` prints and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.errors import DataError, ModelInputError
from oaml_core.inference.compared_pair import drawable_pair
from oaml_core.inference.comparer import Comparer, without_threshold
from oaml_core.inference.drawing import save_pair
from oaml_core.inference.face_files import load_face
from oaml_core.inference.records import FaceRecords

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
BATCH = 32
"""Gallery faces that are read and described at a time."""


class Candidate(NamedTuple):
    """The best picture of one person of the gallery."""

    person: str
    path: Path
    score: float
    visible_share: float
    """Mean product of both visibilities, in [0, 1]."""
    records: FaceRecords
    """Of that picture."""


@dataclass(frozen=True)
class Identification:
    """A probe's candidates."""

    score: str
    """Name of the score that ranks: `combined`, or `global` without a matcher or metrics."""
    candidates: list[Candidate]
    """Best first, each person once."""
    threshold: float | None
    """Score from which on the first candidate is accepted; None if the model has none for this rate."""
    far: float
    rates: list[float]
    """False accept rates that the model has thresholds for."""
    faces: int
    """Pictures in the gallery."""
    left_out: dict[Path, str]
    """Gallery files that could not be used, and why."""
    probe: FaceRecords

    @property
    def known(self) -> bool | None:
        """Whether the first candidate is accepted; None without a threshold."""
        return None if self.threshold is None else self.candidates[0].score >= self.threshold

    def __str__(self) -> str:
        best = self.candidates[0]
        if self.known is None:
            answer = f"nearest is {best.person}; {without_threshold(self.far, self.rates)}"
        elif self.known:
            answer = (
                f"{best.person}: {self.score} {best.score:.3f} ≥ {self.threshold:.3f} (FAR {self.far:g} a comparison)"
            )
        else:
            answer = (
                f"nobody in the gallery: best {self.score} {best.score:.3f} < {self.threshold:.3f} (FAR {self.far:g})"
            )
        rows = [
            f"{rank:>4}  {one.score:>8.3f}  {100 * one.visible_share:>5.0f} %  {one.person}  ({one.path})"
            for rank, one in enumerate(self.candidates, start=1)
        ]
        heading = f"rank  {self.score:>8}  visible  person"
        left_out = [f"left out: {reason}" for reason in self.left_out.values()]
        return "\n".join([answer, heading, *rows, *left_out])


def gallery_files(folder: Path) -> list[tuple[str, Path]]:
    """(person, picture) of a gallery: one folder a person, and pictures at the top, each a person of its own.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"There is no gallery folder {folder}.")
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not pictures:
        raise DataError(
            f"{folder} holds no picture ({', '.join(SUFFIXES)}). A gallery is a folder of aligned faces: one folder a "
            "person, or one picture a person."
        )
    return [(_person(path.relative_to(folder)), path) for path in pictures]


def identify(model: Comparer, gallery: Path, probe: Path, *, far: float, top: int = 5) -> Identification:
    """Rank the people of a gallery by their best picture's score with the probe.

    Args:
        model: recogniser with thresholds.
        gallery: see `gallery_files`.
        probe: aligned face.
        far: false accept rate of one comparison, whose threshold decides.
        top: people named.

    Raises:
        ModelInputError: the probe cannot be used. DataError: no picture of the gallery can.
    """
    one = model.records(load_face(probe, model.image_size))
    files = gallery_files(gallery)
    left_out: dict[Path, str] = {}
    best: dict[str, Candidate] = {}
    name = "global"
    for start in range(0, len(files), BATCH):
        some, faces = _faces(files[start : start + BATCH], model.image_size, left_out)
        if not some:
            continue
        known = model.records(np.stack(faces))
        scores = model.scores(one, known)
        name, values = scores.deciding
        for row, (person, path) in enumerate(some):
            if person not in best or values[row] > best[person].score:
                found = FaceRecords(*(part[row : row + 1] for part in known))
                best[person] = Candidate(person, path, float(values[row]), float(scores.visible_share[row]), found)
    if not best:
        raise DataError(f"No picture in {gallery} can be used. The first: {next(iter(left_out.values()))}")
    ranked = sorted(best.values(), key=lambda candidate: -candidate.score)[: max(1, top)]
    threshold, rates = model.threshold(far, name), list(model.thresholds(name))
    return Identification(name, ranked, threshold, far, rates, len(files) - len(left_out), left_out, one)


def draw_identification(found: Identification, probe: Path, size: int, out: Path) -> None:
    """Probe and first candidate side by side with visibility maps and correspondences.

    Args:
        probe: the picture that `found` is about.
        size: side in pixels that the model takes.
        out: picture file, see `save_pair`.
    """
    best = found.candidates[0]
    pair = drawable_pair((load_face(probe, size), load_face(best.path, size)), (found.probe, best.records))
    save_pair(pair, out, str(found).partition("\n")[0])


def _faces(
    files: Sequence[tuple[str, Path]], size: int, left_out: dict[Path, str]
) -> tuple[list[tuple[str, Path]], list[NDArray[np.uint8]]]:
    """The files that are faces, and these; the others and the reason go to `left_out`."""
    kept, faces = [], []
    for person, path in files:
        try:
            faces.append(load_face(path, size))
        except ModelInputError as error:
            left_out[path] = str(error)
        else:
            kept.append((person, path))
    return kept, faces


def _person(path: Path) -> str:
    """Name of the folder a picture lies in, or of the picture if it lies at the top."""
    return path.parent.as_posix() if path.parent != Path(".") else path.stem
