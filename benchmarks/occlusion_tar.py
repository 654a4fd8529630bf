"""TAR over all pairs of images, with intervals over people: for `benchmarks/occlusion.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = 1e-3
RESAMPLES = 500


class Tar:
    """TAR at `FAR` of all ordered pairs of different images, and the same resamples of people for every score."""

    def __init__(self, people: NDArray[np.int64], resamples: int = RESAMPLES) -> None:
        same = people[:, None] == people
        self.genuine = np.argwhere(same & ~np.eye(len(people), dtype=bool))
        self.impostor = np.argwhere(~same)
        self.people = people
        count = int(people.max()) + 1
        generator = np.random.default_rng(0)
        self.drawn = [np.bincount(generator.integers(count, size=count), minlength=count) for _ in range(resamples)]

    def of(self, scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """TAR, and that of each resample."""
        genuine, impostor = (scores[tuple(pairs.T)] for pairs in (self.genuine, self.impostor))
        # Resamples shift the threshold by little: the highest impostors of ten times the rate hold it.
        top = np.argsort(-impostor)[: int(10 * FAR * len(impostor))]
        first, second = self.people[self.impostor[top]].T
        of_genuine = self.people[self.genuine[:, 0]]
        plain = self._tar(genuine, impostor[top], np.ones(len(genuine)), np.ones(len(top)), len(impostor))
        images = np.bincount(self.people)
        resampled = []
        for w in self.drawn:
            total = (w @ images) ** 2 - ((w * images) ** 2).sum()
            resampled.append(self._tar(genuine, impostor[top], w[of_genuine], w[first] * w[second], total))
        return plain, np.array(resampled)

    @staticmethod
    def _tar(
        genuine: NDArray[np.float64],
        impostor: NDArray[np.float64],
        of_genuine: NDArray[np.generic],
        of_impostor: NDArray[np.generic],
        total: float,
    ) -> float:
        refused = int(np.searchsorted(np.cumsum(of_impostor), FAR * total, side="right"))
        threshold = impostor[min(refused, len(impostor) - 1)]
        return float((of_genuine * (genuine > threshold)).sum() / of_genuine.sum())
