"""Who of a gallery a face may be: nearest embeddings first, then local evidence of the places visible in both."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oaml_core.inference.comparer import Comparer
from oaml_core.inference.gallery.database import EnrolledFace, Gallery
from oaml_core.inference.gallery.vectors import Vectors
from oaml_core.inference.records import FaceRecords

SHORTLIST = 100
"""Faces that are compared by local evidence, for a probe that is wholly visible."""
LONGEST = 4
"""Times that of faces for a probe of which nothing is visible: cover hides more of an embedding than of a place."""
LOADED = 4096
"""Embeddings read at a time."""


class Found(NamedTuple):
    """One person of the gallery, by the best face."""

    face: EnrolledFace
    score: float
    """The one that decides, see `Answer.score`."""
    global_score: float
    """Cosine of the embeddings."""
    visible_share: float
    """Mean product of both visibilities, in [0, 1]."""
    log_likelihood_ratio: float | None
    """Natural logarithm, same person against different people; None without a fusion."""


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
        self._vectors: Vectors | None = None
        self._state: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def search(self, probe: FaceRecords, top: int = 5) -> Answer:
        """Rank the people of the gallery for one face.

        The shortlist grows with the covered share s of the probe, to `shortlist` · (1 + (`LONGEST` − 1) · s) faces.

        Args:
            probe: of one face.
            top: people named.

        Raises:
            DataError: a record is damaged. GalleryMoved: the gallery is of another model meanwhile.
        """
        covered = 1.0 - float(np.clip(probe.visibility.mean(), 0, 1))
        count = max(top, round(self.shortlist * (1 + (LONGEST - 1) * covered)))
        with self._lock:
            vectors = self._refreshed()
            keys = [] if vectors is None else vectors.nearest(probe.embedding[:1], count)[0][0].tolist()
            faces = 0 if vectors is None else len(vectors)
        there, known = self.gallery.records(keys)
        # A rebuild deletes the records of the former model: what was read is whole if the model is still the same.
        self.gallery.require_model()
        if known is None:
            return Answer("global", [], 0, faces)
        scores = self.model.scores(probe, known)
        name, values = scores.deciding
        about = self.gallery.faces(there)
        ratio = scores.log_likelihood_ratio
        best: dict[str, Found] = {}
        for row in np.argsort(-values, kind="stable"):
            face = about.get(there[row])  # gone meanwhile: None
            if face is not None and face.person not in best and len(best) < top:
                best[face.person] = Found(
                    face,
                    float(values[row]),
                    float(scores.global_score[row]),
                    float(scores.visible_share[row]),
                    None if ratio is None else float(ratio[row]),
                )
        return Answer(name, list(best.values()), len(there), faces)

    def prepare(self) -> None:
        """Load the embeddings, and make their codes, so that the next search does not have to."""
        with self._lock:
            if (vectors := self._refreshed()) is not None:
                vectors.prepare()

    @property
    def memory(self) -> int:
        """Bytes of the embeddings in memory."""
        return 0 if self._vectors is None else self._vectors.memory

    def _refreshed(self) -> Vectors | None:
        """Return the embeddings as the file has them now; None for an empty gallery."""
        state = self.gallery.state
        if state == self._state:
            return self._vectors
        self.gallery.require_model()
        keys = np.array(self.gallery.face_keys(), dtype=np.int64)
        held = np.zeros(0, dtype=np.int64) if self._vectors is None else self._vectors.keys
        new = np.setdiff1d(keys, held, assume_unique=True)
        if self._vectors is not None:
            self._vectors.remove(np.setdiff1d(held, keys, assume_unique=True).tolist())
        for start in range(0, len(new), LOADED):
            found = self.gallery.embeddings(new[start : start + LOADED].tolist())
            rows = np.stack([np.frombuffer(one, "<f4") for one in found.values()]) if found else None
            if rows is None:
                continue
            if self._vectors is None:
                self._vectors = Vectors(rows.shape[1])
                self._vectors.reserve(len(new))
            self._vectors.add(np.array(list(found), dtype=np.int64), rows)
        self._state = state
        return self._vectors
