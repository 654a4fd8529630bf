"""Who of a gallery a face may be: nearest embeddings first, then local evidence of the places visible in both.

Of a model that compares one local vector per face, the nearest of those are on the shortlist too: who is lost to the
embedding of a covered face is found by what is seen of it. A model that compares maps has no such vector; of a covered
face, more of the gallery is compared instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.gallery.database import EnrolledFace, Gallery
from oaml_core.inference.gallery.packing import REMEDY
from oaml_core.inference.gallery.vectors import Keys, Vectors
from oaml_core.inference.ratio import Ratio
from oaml_core.inference.records import FaceRecords, Floats

SHORTLIST = 100
"""Faces that are compared by local evidence, for a probe that is wholly visible."""
LONGEST = 4
"""Times that of faces for a probe of which nothing is visible: cover hides more of an embedding than of a place."""
ALONE = 0.2
"""Share of the gallery on the list of a model that compares maps, for a probe of which nothing is visible; it falls
with the square of the covered share. Chosen on 150 training faces of LFW under seven drawn covers among 8,613: the face
that comes first of all was on the list for 1,200 of 1,200, without this for 1,191 (`docs/gallery.md`)."""
MOST_ALONE = 2_000
"""Most faces on that list; comparing each takes the matcher's time."""
LOADED = 4096
"""Vectors read at a time."""
Read = Callable[[Iterable[int]], dict[int, bytes]]
"""Reads float32 vectors by key; those that are gone are left out."""


class Found(NamedTuple):
    """One person of the gallery, by the best face."""

    face: EnrolledFace
    score: float
    """The one that decides, see `Answer.score`."""
    global_score: float
    """Cosine of the embeddings."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]."""
    ratio: Ratio | None
    """Likelihood ratio of probe and face, with its interval; None without a fusion."""


@dataclass(frozen=True)
class Answer:
    """People that a probe may be."""

    score: str
    """Name of the score that ranks and decides."""
    people: list[Found]
    """Best first, each person once; empty for an empty gallery."""
    compared: int
    """Faces that were compared by local evidence."""
    faces: int
    """Faces of the gallery."""


class GallerySearch:
    """Searches a gallery; the embeddings lie in memory, and follow the file when it changes.

    Args:
        gallery: what is searched.
        model: recogniser whose records it holds.
        shortlist: faces compared by local evidence, for a probe that is wholly visible.
    """

    def __init__(self, gallery: Gallery, model: Comparer, shortlist: int = SHORTLIST) -> None:
        self.gallery, self.model, self.shortlist = gallery, model, shortlist
        self._vectors: list[Vectors] = []
        """Embeddings, and local vectors where there are any; empty for an empty gallery."""
        self._state: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def search(self, probe: FaceRecords, top: int = 5) -> Answer:
        """Rank the people of the gallery for one face.

        The shortlist grows with the covered share s of the probe, to `shortlist` · (1 + (`LONGEST` − 1) · s) faces. Of
        a model that compares maps it has `ALONE` · s² of all faces, if these are more, and at most `MOST_ALONE`.

        Args:
            probe: of one face.
            top: people named.

        Raises:
            DataError: a record is damaged. GalleryMoved: the gallery is of another model meanwhile.
        """
        listed, faces = self.shortlisted(probe, top)
        there, known = self.gallery.records(listed)
        # A rebuild deletes the records of the former model: what was read is whole if the model is still the same.
        self.gallery.require_model()
        if known is None:
            return Answer("global", [], 0, faces)
        scores = self.model.scores(probe, known)
        name, values = scores.deciding
        about = self.gallery.faces(there)
        best: dict[str, Found] = {}
        for row in np.argsort(-values, kind="stable"):
            face = about.get(there[row])  # gone meanwhile: None
            if face is not None and face.person not in best and len(best) < top:
                best[face.person] = Found(
                    face,
                    float(values[row]),
                    float(scores.global_score[row]),
                    float(scores.visible_share[row]),
                    Ratio.of(scores, int(row)),
                )
        return Answer(name, list(best.values()), len(there), faces)

    def shortlisted(self, probe: FaceRecords, top: int = 5) -> tuple[list[int], int]:
        """Return the keys of the faces that `search` compares by local evidence, and how many faces there are.

        Args:
            probe: of one face.
            top: people that are to be named.

        Raises:
            GalleryMoved: the gallery is of another model meanwhile.
        """
        covered = 1.0 - float(np.clip(probe.visibility.mean(), 0, 1))
        count = max(top, round(self.shortlist * (1 + (LONGEST - 1) * covered)))
        with self._lock:
            vectors, probes = self._refreshed(), (probe.embedding, probe.local_embedding)
            faces = len(vectors[0]) if vectors else 0
            if len(vectors) == 1 and probe.local_features.shape[1]:
                count = max(count, min(MOST_ALONE, round(ALONE * covered**2 * faces)))
            nearest = [held.nearest(one[:1], count)[0][0] for held, one in zip(vectors, probes, strict=False)]
        return list(dict.fromkeys(np.concatenate(nearest).tolist() if nearest else [])), faces

    def prepare(self) -> None:
        """Load the embeddings, and make their codes, so that the next search does not have to."""
        with self._lock:
            for vectors in self._refreshed():
                vectors.prepare()

    @property
    def memory(self) -> int:
        """Bytes of the vectors in memory."""
        return sum(vectors.memory for vectors in self._vectors)

    def _refreshed(self) -> list[Vectors]:
        """Return the vectors as the file has them now."""
        state = self.gallery.state
        if state == self._state:
            return self._vectors
        self.gallery.require_model()
        keys = np.array(self.gallery.face_keys(), dtype=np.int64)
        held = self._vectors[0].keys if self._vectors else keys[:0]
        gone, new = np.setdiff1d(held, keys, assume_unique=True), np.setdiff1d(keys, held, assume_unique=True)
        readers = (self.gallery.embeddings, self.gallery.local_embeddings)
        known = [*self._vectors, *[None] * (len(readers) - len(self._vectors))]
        followed = [_follow(one, gone, new, read) for one, read in zip(known, readers, strict=True)]
        self._vectors = [one for one in followed if one is not None]
        self._state = state
        return self._vectors


def _follow(vectors: Vectors | None, gone: Keys, new: Keys, read: Read) -> Vectors | None:
    """Take vectors out, and new ones in from the file; None while there are none."""
    if vectors is not None:
        vectors.remove(gone.tolist())
    for start in range(0, len(new), LOADED):
        if not (found := read(new[start : start + LOADED].tolist())):
            continue
        rows = _stacked(found, None if vectors is None else vectors.size)
        if vectors is None:
            vectors = Vectors(rows.shape[1])
            vectors.reserve(len(new))
        vectors.add(np.array(list(found), dtype=np.int64), rows)
    return vectors


def _stacked(found: Mapping[int, bytes], size: int | None) -> Floats:
    """Return the vectors [n, size] of faces by key.

    Args:
        found: float32 little endian.
        size: numbers of each; None: as many as the first has.

    Raises:
        DataError: one has another length.
    """
    wanted = 4 * size if size is not None else len(next(iter(found.values()))) // 4 * 4
    for key, vector in found.items():
        if len(vector) != wanted or not wanted:
            raise DataError(
                f"Face {key} of the gallery has a vector of {amount(len(vector), 'byte')}, others have {wanted:,}.",
                here=REMEDY,
            )
    return np.stack([np.frombuffer(vector, "<f4") for vector in found.values()])
