"""Faces that the benchmark covers, and faces that were photographed covered."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oaml_core.amounts import amount
from oaml_core.data.prepared.verification import VerificationSet, open_verification, write_verification
from oaml_core.data.sources.base import LocalFolder
from oaml_core.data.sources.meta import five_points
from oaml_core.data.sources.verification import open_verification_source, set_name
from oaml_core.data.sources.verification_files import PAIRS_SUFFIX
from oaml_core.decoding.formats import IMAGE_SUFFIXES
from oaml_core.errors import DataError
from oaml_core.evaluation.covered.pictures import different_rows, tell_contested, tell_repeated
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.folder_entries import no_folder, regular_files, shown
from oaml_core.held_folder import held_folder
from oaml_core.inference.face_files import load_scaled_face
from oaml_core.structured_text import parse_json

log = logging.getLogger(__name__)

COVERED_ENDINGS = ("_masked", "_covered", "_sunglasses", "_occluded")
"""How the names of real photographs of covered faces end, in capitals or not; others are of uncovered faces."""
COVERED_NAME = re.compile(f"({'|'.join(COVERED_ENDINGS)})$", re.IGNORECASE)


@dataclass(frozen=True)
class KnownFaces:
    """Different aligned faces of known people."""

    name: str
    images: NDArray[np.uint8]
    """[n, H, W, 3] RGB."""
    people: NDArray[np.int64]
    """[n], numbers of the people, 0 to their count − 1."""
    landmarks: NDArray[np.float32] | None
    """[n, 5, 2] in pixels; NaN: not known."""
    covered: NDArray[np.bool_]
    """[n], photographed covered."""

    def rows(self, which: NDArray[np.integer]) -> KnownFaces:
        """Return some of the faces, by their numbers; people keep theirs."""
        points = None if self.landmarks is None else self.landmarks[which]
        return KnownFaces(self.name, self.images[which], self.people[which], points, self.covered[which])

    @property
    def digest(self) -> str:
        """Fingerprint of images and people: equal digests mean equal benchmarks."""
        return hashlib.blake2b(self.images.tobytes() + self.people.tobytes(), digest_size=16).hexdigest()


def open_faces(path: Path, size: int = 112) -> KnownFaces:
    """Open a verification set (`.bin` or `…_pairs.csv`, its landmarks beside it) or a folder of people.

    Args:
        path: the file, or a folder with one folder of aligned faces per person and optionally `landmarks.json`
            ({"person/file.jpg": [[x, y] × 5]}, in pixels of the file). The same picture counts once; one that lies
            under two people is left out.
        size: side of the faces in pixels.

    Raises:
        DataError: nothing there can be used.
    """
    found = _of_folder(path, size) if path.is_dir() else _of_set(path, size)
    if len(np.unique(found.people)) < 2 or np.bincount(found.people).max() < 2:  # also where no face is left
        raise DataError(f"{path} has no person with two faces, or no second person; pairs need both.")
    return found


def _of_set(path: Path, size: int) -> KnownFaces:
    if not path.is_file() or set_name(path.name) is None:
        raise DataError(f"Faces: {no_folder(path)}. A verification set ends in .bin or {PAIRS_SUFFIX}.")
    name = path.name.removesuffix(PAIRS_SUFFIX).removesuffix(".bin")
    with held_folder("oaml-faces-") as scratch:
        write_verification(
            open_verification_source(LocalFolder(path.parent), name, path.name), scratch, image_size=size
        )
        return faces_of(open_verification(scratch, name))


def faces_of(pairs: VerificationSet) -> KnownFaces:
    """Return the different images of a verification set, and whom they show as far as it is known."""
    known = identities_of(pairs)
    people = np.stack([known.first, known.second], axis=1).ravel()
    different = different_rows(pairs.images, people)
    tell_contested(pairs.name, [f"image {row}" for row in different.contested])
    rows = different.rows
    return KnownFaces(
        pairs.name,
        np.array(pairs.images[rows]),
        np.unique(people[rows], return_inverse=True)[1].astype(np.int64),
        None if pairs.landmarks is None else np.array(pairs.landmarks[rows]),
        np.zeros(len(rows), dtype=np.bool_),
    )


def _of_folder(path: Path, size: int) -> KnownFaces:
    below = regular_files(path, IMAGE_SUFFIXES)
    files = [file for file in below if file.parent.parent == path]
    if below and len(files) < len(below):
        elsewhere = next(file for file in below if file.parent.parent != path)
        log.warning(
            "%s: %s left out, for faces lie as person/file.jpg; the first is %s.",
            shown(path),
            amount(len(below) - len(files), "image is", "images are"),
            shown(elsewhere),
        )
    if not files:
        raise DataError(f"{path} holds no faces; they lie as person/file.jpg, aligned to {size} × {size} pixels.")
    points = path / "landmarks.json"
    remedy = "Remove it, or make it again."
    known = parse_json(points.read_bytes(), str(points), remedy, DataError) if points.is_file() else {}
    names = [file.relative_to(path).as_posix() for file in files]
    _tell_unknown(points, known.keys() - set(names), len(names))
    landmarks = np.full((len(files), 5, 2), np.nan, dtype=np.float32)
    images = np.empty((len(files), size, size, 3), dtype=np.uint8)
    for row, (file, name) in enumerate(zip(files, names, strict=True)):
        images[row], scale = load_scaled_face(file, size)
        if known.get(name) is not None:
            landmarks[row] = scale * five_points(known[name], f"{points}: {name}")
    who = [file.parent.name for file in files]
    different = different_rows(images, np.unique(who, return_inverse=True)[1])
    tell_repeated(shown(path), [names[row] for row in different.repeated])
    tell_contested(shown(path), [names[row] for row in different.contested])
    rows = different.rows
    return KnownFaces(
        path.name,
        images[rows],
        np.unique([who[row] for row in rows], return_inverse=True)[1].astype(np.int64),
        landmarks[rows],
        np.array([bool(COVERED_NAME.search(files[row].stem)) for row in rows], dtype=np.bool_),
    )


def _tell_unknown(points: Path, unknown: set[str], faces: int) -> None:
    """Warn of landmarks that are of no face of the folder: cover would lie where the template has eyes and mouth."""
    if unknown:
        log.warning(
            "%s: %s of none of the %s; the first is %s. Name faces as person/file.jpg.",
            shown(points),
            amount(len(unknown), "entry is", "entries are"),
            amount(faces, "face"),
            shown(min(unknown)),
        )
