"""A recogniser of a few lines: embeddings, visibility and local features straight from the pixels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from oaml_core.inference.records import FaceRecords, Scores


class PlainModel:
    """Describes an aligned face by its pixels, 8 × 8 and 4 × 4; black places are covered.

    Args:
        version: of the model.
        turn: rolls the embedding, so that two models differ.
        thresholds: of the deciding score by false accept rate.
    """

    image_size = 112

    def __init__(self, version: str = "first", turn: int = 0, thresholds: Mapping[float, float] | None = None) -> None:
        self.version, self.turn, self._thresholds = version, turn, dict(thresholds or {})

    def records(self, images: np.ndarray) -> FaceRecords:
        small = np.stack([np.asarray(Image.fromarray(image).resize((8, 8))) for image in images]).astype(np.float32)
        flat = np.roll(small.reshape(len(small), -1) - 100.0, self.turn, axis=1)
        norm = np.linalg.norm(flat, axis=1)
        places = small.reshape(len(small), 4, 2, 4, 2, 3).mean((2, 4))
        local = (places - 100.0).transpose(0, 3, 1, 2)
        visible = (places.max(-1) > 8).astype(np.float32)[:, None]
        return FaceRecords(flat / norm[:, None], visible, local, norm)

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        glob = (probe.embedding * gallery.embedding).sum(1, dtype=np.float64)
        shared = probe.visibility * gallery.visibility
        distance = (np.abs(probe.local_features - gallery.local_features).mean(1, keepdims=True) * shared).sum(
            (1, 2, 3)
        )
        local = -distance / np.maximum(shared.sum((1, 2, 3)), 1e-6)
        return Scores(glob, local, local.astype(np.float64), shared.mean((1, 2, 3), dtype=np.float64))

    def threshold(self, far: float, score: str = "global") -> float | None:
        return self.thresholds(score).get(far)

    def thresholds(self, score: str = "global") -> dict[float, float]:
        return self._thresholds if score == "combined" else {}


def face_of(person: int, picture: int = 0) -> np.ndarray:
    """Draw an aligned face [112, 112, 3]: broad patches by person, a little noise by picture."""
    patches = np.random.default_rng(person).integers(30, 220, (8, 8, 3)).astype(np.uint8)
    noise = np.random.default_rng([person, picture]).integers(-6, 7, (112, 112, 3))
    return np.clip(np.asarray(Image.fromarray(patches).resize((112, 112))).astype(int) + noise, 9, 255).astype(np.uint8)


def covered(face: np.ndarray) -> np.ndarray:
    """Return the face with its lower half black."""
    result = face.copy()
    result[56:] = 0
    return result
