"""Photographs as training images: each is searched for its face, which is cut out by its points, before it is used.

What was found of a photograph is kept by the photograph's SHA-256, so that preparation goes on where it stopped and
photographs that come later are the only ones that are searched. Which faces there are depends on the photographs and
the settings alone, never on threads or on what was kept.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from oaml_core.config import DataConfig
from oaml_core.data.sources.base import CORES, Ints, Landmarks, TrainingSource
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.decoding.decode import decode_image
from oaml_core.errors import DataError, ModelInputError
from oaml_core.photos.faces import SURE, FaceFinder, FaceNotFoundError
from oaml_core.photos.recipe import recipe_digest
from oaml_core.progress import progress
from oaml_core.structured_text import json_or_none
from oaml_core.whole_file import written_whole

FOLDER = "aligned"
"""Folder of the work directory with the faces that were cut out."""
BLOCK = 4096
"""Photographs that wait for a thread at a time."""


class NoFaceError(DataError):
    """A photograph shows no face."""


@dataclass(frozen=True)
class Rejected:
    """A photograph without a face."""

    name: str
    reason: str


class AlignedFace(NamedTuple):
    """A face that was cut out of a photograph."""

    data: bytes
    """The aligned face as PNG."""
    points: Landmarks
    """float32 [5, 2] in the face's pixels."""
    digest: str
    """SHA-256 of the photograph, hexadecimal."""


class Aligner:
    """Cuts faces out of encoded photographs, and keeps them.

    Args:
        data: its `detector` and `image_size`.
        work: the work directory.

    Raises:
        ConfigError: there is no detector of that name.
        ModelInputError: there is no such file, or the detector is not installed.
    """

    def __init__(self, data: DataConfig, work: Path) -> None:
        self.folder = work / FOLDER / recipe_digest(data.detector, data.image_size)
        self.size = data.image_size
        self._finder = FaceFinder(data.detector)
        self._finder.detector  # noqa: B018  one that cannot be loaded is named before any photograph is read

    def face(self, photo: bytes) -> AlignedFace:
        """Return the main face of a photograph.

        Args:
            photo: encoded.

        Raises:
            NoFaceError: no face was found.
            DataError: the photograph is damaged.
        """
        digest = hashlib.sha256(photo).hexdigest()
        return self.kept(digest) or self._made(digest, photo)

    def kept(self, digest: str) -> AlignedFace | None:
        """Return what was found of a photograph before; None if it was not looked at, or half of that is gone.

        Args:
            digest: SHA-256 of the photograph, hexadecimal.

        Raises:
            NoFaceError: no face was found.
        """
        face, note = self._paths(digest)
        try:
            found = json_or_none(note.read_bytes())
            if found["reason"]:
                raise NoFaceError(found["reason"])
            points = np.array(found["points"], dtype=np.float32).reshape(5, 2)
            return AlignedFace(face.read_bytes(), points, digest)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _paths(self, digest: str) -> tuple[Path, Path]:
        folder = self.folder / digest[:2]
        return folder / f"{digest}.png", folder / f"{digest}.json"

    def _made(self, digest: str, photo: bytes) -> AlignedFace:
        image = decode_image(photo)
        face, note = self._paths(digest)
        face.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = self._finder.main_face_in(image, "the photograph", self.size)
        except ModelInputError as error:
            reason = _reason(error)
            _write(note, json.dumps({"reason": reason}).encode())
            raise NoFaceError(reason) from None
        encoded = io.BytesIO()
        Image.fromarray(found.image).save(encoded, "PNG")
        points = found.points_in_crop().round(2)
        _write(face, encoded.getvalue())
        _write(note, json.dumps({"reason": "", "points": points.tolist()}).encode())
        return AlignedFace(encoded.getvalue(), points.astype(np.float32), digest)


def _reason(error: ModelInputError) -> str:
    """Say in a list of rejects why a photograph gives no face."""
    if not isinstance(error, FaceNotFoundError):
        return str(error)
    if not error.likeliest:
        return "no face was found"
    return f"no face was found; the likeliest place scores {error.likeliest:.2f} of {SURE:g}"


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(content)


class AlignedSource(TrainingSource):
    """The faces of another source's photographs, under the same numbers and names.

    Args:
        photographs: the other source.
        aligner: cuts the faces out.
    """

    def __init__(self, photographs: TrainingSource, aligner: Aligner) -> None:
        self._photographs, self._aligner = photographs, aligner
        self.kind = photographs.kind
        self.readers = photographs.readers
        self.labels = photographs.labels
        self.notes = photographs.notes
        self.damaged, self.mend = photographs.damaged, photographs.mend
        points: Landmarks = np.full((len(photographs), 5, 2), np.nan, dtype=np.float32)
        self._points = points
        self.landmarks = points
        self._digests: dict[int, str] = {}

    def look_at(self, numbers: Ints) -> tuple[Ints, list[Rejected]]:
        """Search photographs for their faces, on several threads.

        Args:
            numbers: of the photographs.

        Returns:
            Numbers of those that show a face or cannot be read, and those that show none.
        """
        kept: list[int] = []
        rejected: list[Rejected] = []
        for number, reason in progress(self._looks(numbers.tolist()), len(numbers), "align"):
            if reason is None:
                kept.append(number)
            else:
                rejected.append(Rejected(self.name(number), reason))
        return np.array(kept, dtype=np.int64), rejected

    def _looks(self, numbers: Sequence[int]) -> Iterator[tuple[int, str | None]]:
        with ThreadPoolExecutor(CORES) as pool:
            for start in range(0, len(numbers), BLOCK):
                yield from pool.map(self._look, numbers[start : start + BLOCK])

    def _look(self, number: int) -> tuple[int, str | None]:
        try:
            face = self._aligner.face(self._photographs.read(number))
            self._points[number], self._digests[number] = face.points, face.digest
        except NoFaceError as error:
            return number, str(error)
        except DataError:  # who reads it later is told why
            pass
        return number, None

    def read(self, index: int) -> bytes:
        """Return the aligned face, PNG; raises DataError if the photograph is damaged or shows none."""
        known = self._aligner.kept(self._digests[index]) if index in self._digests else None
        return (known or self._aligner.face(self._photographs.read(index))).data

    def name(self, index: int) -> str:
        """Return the photograph's name."""
        return self._photographs.name(index)

    def identity_name(self, label: int) -> str:
        """Return an identity's name."""
        return self._photographs.identity_name(label)

    def find(self, wanted: Sequence[str]) -> Ints:
        """Return numbers of the photographs that the lines of a subset file name."""
        return self._photographs.find(wanted)


def aligned_pairs(pairs: VerificationSource, aligner: Aligner) -> tuple[VerificationSource, list[Rejected]]:
    """Return a pair list of photographs as pairs of faces; pairs of which one shows no face are left out.

    Args:
        pairs: a set whose images are files of their own.
        aligner: cuts the faces out.

    Returns:
        The set, and the photographs without a face.
    """
    points = np.full((2 * len(pairs), 5, 2), np.nan, dtype=np.float32)
    rejected: dict[int, str] = {}
    photographs = progress(pairs.read_images(), 2 * len(pairs), f"align {pairs.name}")
    for number, photo in enumerate(photographs):
        try:
            points[number] = aligner.face(photo).points
        except NoFaceError as error:
            rejected[number] = str(error)
        except DataError:  # the set's check says which image is damaged
            continue
    keep = np.ones(len(pairs), dtype=bool)
    keep[[number // 2 for number in rejected]] = False
    rows = np.repeat(keep, 2)
    left: Landmarks = points[rows]

    def images() -> Iterator[bytes]:
        for wanted, photo in zip(rows, pairs.read_images(), strict=True):
            if wanted:
                yield aligner.face(photo).data

    made = replace(
        pairs,
        issame=pairs.issame[keep],
        landmarks=lambda: left,
        read_images=images,
        identities=None if pairs.identities is None else pairs.identities[rows],
        files=[name for name, wanted in zip(pairs.files, rows, strict=True) if wanted],
    )
    return made, [Rejected(pairs.files[number], reason) for number, reason in rejected.items()]
