"""A probe against a folder of known faces: what `oaml identify` prints and draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError, ModelInputError
from oaml_core.folder_entries import no_folder, regular_files
from oaml_core.inference.compared_pair import drawable_pair
from oaml_core.inference.comparer import Comparer, without_threshold
from oaml_core.inference.drawing import save_pair
from oaml_core.inference.face_files import load_face
from oaml_core.inference.photo_records import describe, remark
from oaml_core.inference.proof import NOTHING_KNOWN, Proof
from oaml_core.inference.ratio import Ratio
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.verdict import judge_pair
from oaml_core.photos.faces import FaceFinder
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.printable_names import composed

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
    """Records of the picture."""
    ratio: Ratio | None = None
    """Likelihood ratio of the probe and the picture, with its interval; None without a fusion."""


@dataclass(frozen=True)
class Identification:
    """The search of one probe in a gallery: its best candidates, and the decision on the first."""

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
    face: PhotoFace | None = None
    """Place of the probe's face; None for an image that was taken for an aligned face."""
    undecidable: str = ""
    """Why the first candidate is neither accepted nor refused, in spite of a threshold."""
    proof: Proof = NOTHING_KNOWN
    """What the model's evaluation says of pairs that show as much as the probe and the first candidate."""

    def remarks(self) -> list[str]:
        """Return how the probe's face was found, and what is amiss or covered; empty for an aligned image."""
        return [] if self.face is None else [remark(self.face, self.probe)]

    @property
    def known(self) -> bool | None:
        """Return True if the first candidate is accepted; None without a threshold, or if nothing may be decided."""
        return None if self.threshold is None or self.undecidable else self.candidates[0].score >= self.threshold

    def __str__(self) -> str:
        best = self.candidates[0]
        if self.undecidable:
            answer = f"cannot decide: {self.undecidable}; nearest is {best.person}"
        elif self.known is None:
            answer = f"nearest is {best.person}; {without_threshold(self.far, self.rates)}"
        elif self.known:
            answer = (
                f"{best.person}: {self.score} {best.score:.3f} ≥ {self.threshold:.3f} (FAR {self.far:g} a comparison)"
            )
        else:
            answer = (
                f"nobody in the gallery: best {self.score} {best.score:.3f} < {self.threshold:.3f} (FAR {self.far:g})"
            )
        if best.ratio is not None:
            answer += f"; {best.ratio}"
        if self.known is not None and str(self.proof):
            answer += f"; {self.proof}"
        rows = [
            f"{rank:>4}  {one.score:>8.3f}  {self._visible(one)}  {one.person}  ({one.path})"
            for rank, one in enumerate(self.candidates, start=1)
        ]
        heading = f"rank  {self.score:>8}  visible  person"
        left_out = [f"left out: {reason}" for reason in self.left_out.values()]
        return "\n".join([answer, heading, *rows, *left_out])

    def _visible(self, one: Candidate) -> str:
        """Return the share visible in both, of 7 characters; "-" where the model does not look at it."""
        return f"{100 * one.visible_share:>5.0f} %" if self.probe.tell_cover else f"{'-':>7}"


def gallery_files(folder: Path) -> list[tuple[str, Path]]:
    """List (person, picture) of a gallery: one folder per person; a picture at the top is a person of its own.

    Raises:
        DataError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"The gallery: {no_folder(folder)}.")
    pictures = regular_files(folder, IMAGE_SUFFIXES)
    if not pictures:
        raise DataError(
            f"{folder} holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}). A gallery is a folder of "
            "photographs: one folder per person, or one picture per person."
        )
    return [(_person(path.relative_to(folder)), path) for path in pictures]


def identify(
    model: Comparer,
    gallery: str | Path,
    probe: str | Path,
    *,
    far: float,
    top: int = 5,
    finder: FaceFinder | None = None,
) -> Identification:
    """Rank the people of a gallery by their best picture's score with the probe.

    Args:
        model: recogniser with thresholds.
        gallery: see `gallery_files`.
        probe: photograph; without a finder an aligned face.
        far: false accept rate of one comparison, whose threshold decides.
        top: people named.
        finder: finds and aligns the main face of each photograph; None: the images are aligned faces.

    Raises:
        ModelInputError: the probe cannot be used. DataError: no picture of the gallery can.

    Example:
        >>> import oaml_core as oaml
        >>> found = oaml.identify(oaml.load_model("model.onnx"), "gallery", "b.png", far=1e-2)
        >>> found.candidates[0].person
        'person_b'
    """
    gallery, probe = Path(gallery), Path(probe)
    if finder is None:
        shown, one = None, model.records(load_face(probe, model.image_size))
    else:
        shown, one = describe(model, finder, probe)
    files = gallery_files(gallery)
    left_out: dict[Path, str] = {}
    best: dict[str, Candidate] = {}
    name = "global"
    for start in range(0, len(files), BATCH):
        some, known = _records(model, files[start : start + BATCH], finder, left_out)
        if known is None:
            continue
        scores = model.scores(one, known)
        name, values = scores.deciding
        for row, (person, path) in enumerate(some):
            if person not in best or values[row] > best[person].score:
                found = known.rows(slice(row, row + 1))
                share, ratio = float(scores.visible_share[row]), Ratio.of(scores, row)
                best[person] = Candidate(person, path, float(values[row]), share, found, ratio)
    if not best:
        raise DataError(f"No picture in {gallery} can be used. The first: {next(iter(left_out.values()))}")
    ranked = sorted(best.values(), key=lambda candidate: -candidate.score)[: max(1, top)]
    threshold, rates = model.threshold(far, name), list(model.thresholds(name))
    verdict = judge_pair(model, name, ranked[0].score, ranked[0].visible_share, far, () if shown is None else [shown])
    return Identification(
        name,
        ranked,
        threshold,
        far,
        rates,
        len(files) - len(left_out),
        left_out,
        one,
        shown,
        verdict.reason,
        verdict.proof,
    )


def draw_identification(
    found: Identification, probe: Path, size: int, out: Path, finder: FaceFinder | None = None
) -> None:
    """Probe and first candidate side by side with visibility maps and correspondences.

    Args:
        probe: the picture that `found` is about.
        size: side in pixels that the model takes.
        out: picture file, see `save_pair`.
        finder: the one that `identify` was given.
    """
    best = found.candidates[0]
    caption = str(found).partition("\n")[0]
    if found.face is None or finder is None:
        pair = drawable_pair((load_face(probe, size), load_face(best.path, size)), (found.probe, best.records))
        save_pair(pair, out, caption)
        return
    faces = found.face, finder.main_face(best.path, size)
    pair = drawable_pair((faces[0].image, faces[1].image), (found.probe, best.records))
    save_pair(pair, out, caption, faces)


def _records(
    model: Comparer, files: Sequence[tuple[str, Path]], finder: FaceFinder | None, left_out: dict[Path, str]
) -> tuple[list[tuple[str, Path]], FaceRecords | None]:
    """Return the files that show faces, and their records; the other files and the reasons go to `left_out`."""
    kept: list[tuple[str, Path]] = []
    images: list[NDArray[np.uint8]] = []
    found: list[FaceRecords] = []
    for person, path in files:
        try:
            if finder is None:
                images.append(load_face(path, model.image_size))
            else:
                found.append(describe(model, finder, path)[1])
        except ModelInputError as error:
            left_out[path] = str(error)
        else:
            kept.append((person, path))
    if not kept:
        return kept, None
    if finder is None:
        return kept, model.records(np.stack(images))
    return kept, FaceRecords(*map(np.concatenate, zip(*found, strict=True)))


def _person(path: Path) -> str:
    """Name of the folder a picture lies in, or of the picture if it lies at the top."""
    return composed(path.parent.as_posix() if path.parent != Path(".") else path.stem)
