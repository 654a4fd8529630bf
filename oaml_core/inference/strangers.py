"""How far a face's scores with strangers spread, and scores of pairs measured by it.

A covered face shows less, and its scores with strangers lie closer together than those of an uncovered one. One
threshold then asks for another false accept rate under each cover. A pair's score divided by the spread of both its
faces takes that out: Dehak et al., "Cosine similarity scoring without score normalization techniques", Odyssey 2010.
There both spreads divide. Here their geometric mean does: on small photographs both cost more than they give under
cover (`docs/benchmark.md`), and the mean keeps most of what they give.

With x = [g; l], a face's embedding and local embedding, and Σ the covariance of x over strangers, the variance of the
face's weighted score with strangers is (D·x)ᵀ Σ (D·x), where D holds the weights. Σ is all that is kept of the
strangers: no face of theirs.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FEWEST = 512
"""Strangers below which nothing is measured by them: a spread is off by 3 % then, and the score by as much."""
POWER = 0.5
"""Power of the product of both faces' deviations by which scores are divided: that of their geometric mean."""
FIRST_POWER = 1.0
"""Power of models exported before it was stored with them: their thresholds are of such scores."""
STORED = "<f2"
"""Numbers of the covariance as they are kept, in shares of the largest one."""


@dataclass(frozen=True)
class Strangers:
    """The covariance of what strangers are compared by.

    Example:
        >>> import numpy as np
        >>> from oaml_core.inference.strangers import Strangers
        >>> faces = np.random.default_rng(0).normal(size=(2, 600, 8))
        >>> known = Strangers.of(faces[0], faces[1])
        >>> known.spread(faces[0, :3], faces[1, :3]).shape
        (3, 3)
    """

    covariance: Floats
    """[E + L, E + L], symmetric, of embedding and local embedding."""
    embedding_size: int
    """E"""
    faces: int
    """Strangers that it was taken from."""
    power: float = POWER
    """Power of the product of both faces' deviations by which scores are divided."""

    @classmethod
    def of(cls, embedding: NDArray[np.floating], local_embedding: NDArray[np.floating]) -> Strangers:
        """Return the covariance over strangers, with the precision that is stored.

        Args:
            embedding: [n, E], unit length, n at least 2, each of another person.
            local_embedding: [n, L], unit length; [0]: the model has none.
        """
        local = local_embedding if local_embedding.size else np.empty((len(embedding), 0))
        both = np.concatenate([embedding, local], axis=1, dtype=np.float64)
        exact = cls(np.cov(both, rowvar=False), embedding.shape[1], len(both))
        return cls.stored(exact.as_json())

    def spread(self, embedding: NDArray[np.floating], local_embedding: NDArray[np.floating]) -> Floats:
        """Return how the scores of faces with strangers spread.

        Args:
            embedding: [n, E]
            local_embedding: [n, L]; [0]: the model has none.

        Returns:
            [n, 3]: variance of the global cosine, covariance of both cosines, variance of the local one.
        """
        one, other = self.covariance[: self.embedding_size], self.covariance[self.embedding_size :]
        first = embedding.astype(np.float64)
        if not local_embedding.size:
            nothing = np.zeros(len(first))
            return np.stack([_squares(first, one, first), nothing, nothing], axis=1)
        second = local_embedding.astype(np.float64)
        of_global, of_local = one[:, : self.embedding_size], other[:, self.embedding_size :]
        between = other[:, : self.embedding_size]
        return np.stack(
            [_squares(first, of_global, first), _squares(second, between, first), _squares(second, of_local, second)],
            axis=1,
        )

    def measure(self, score: Floats, one: Floats, other: Floats) -> Floats:
        """Return scores divided by what both their faces score with strangers; all of a common shape.

        Args:
            score: weighted cosines, without the mean of a set.
            one: deviation of the first face, see `deviation`.
            other: deviation of the second face.
        """
        found: Floats = score / (one * other) ** self.power
        return found

    def as_json(self) -> dict[str, Any]:
        """Return `faces`, `embedding_size`, `power`, `unit`, and the covariance's upper triangle by rows as `upper`:
        base64 of little-endian halves, in multiples of `unit`."""
        unit = float(np.abs(self.covariance).max()) or 1.0
        upper = self.covariance[np.triu_indices(len(self.covariance))] / unit
        text = base64.b64encode(upper.astype(STORED).tobytes()).decode()
        return {
            "faces": self.faces,
            "embedding_size": self.embedding_size,
            "power": self.power,
            "unit": unit,
            "upper": text,
        }

    @classmethod
    def stored(cls, content: Mapping[str, Any]) -> Strangers:
        """Return what `as_json` gave.

        Raises:
            ValueError: a part is missing or cannot be what it is meant to be.
        """
        try:
            faces, size, unit = content["faces"], content["embedding_size"], float(content["unit"])
            power = float(content.get("power", FIRST_POWER))
            upper = np.frombuffer(base64.b64decode(content["upper"], validate=True), STORED).astype(np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"strangers cannot be read ({error})") from None
        side = int((np.sqrt(8 * upper.size + 1) - 1) / 2)
        known = isinstance(faces, int) and isinstance(size, int) and 0 < size <= side
        if not known or side * (side + 1) // 2 != upper.size or not np.isfinite(upper).all() or not unit > 0:
            raise ValueError("strangers hold no covariance of embeddings")
        if not 0 < power <= 1:
            raise ValueError(f"strangers divide scores by a power of {power:g}, which must lie in (0, 1]")
        covariance = np.zeros((side, side))
        covariance[np.triu_indices(side)] = upper * unit
        return cls(covariance + np.triu(covariance, 1).T, size, faces, power)


def deviation(spread: Floats, global_weight: float, local_weight: float) -> Floats:
    """Return the standard deviation [...] of a face's weighted score with strangers.

    Args:
        spread: [..., 3], see `Strangers.spread`.
        global_weight: of the global cosine.
        local_weight: of the local cosine.
    """
    weights = np.array([global_weight**2, 2 * global_weight * local_weight, local_weight**2])
    # Rounding may leave a hair below 0 where a face's scores hardly spread.
    found: Floats = np.sqrt(np.maximum(spread @ weights, np.finfo(np.float64).tiny))
    return found


def _squares(first: Floats, matrix: Floats, second: Floats) -> Floats:
    found: Floats = np.einsum("ni,ni->n", first @ matrix, second)
    return found
