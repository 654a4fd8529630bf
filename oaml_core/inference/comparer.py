"""What `oaml match` and `oaml identify` need of a model, be it exported or a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.records import FaceRecords, Scores


class Comparer(Protocol):
    """A recogniser with its operating points: `OamlOnnx`, or a checkpoint behind the same methods."""

    @property
    def image_size(self) -> int: ...

    @property
    def local_line(self) -> tuple[float, float]: ...

    def records(self, images: NDArray[np.uint8]) -> FaceRecords: ...

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores: ...

    def threshold(self, far: float, score: str = "global") -> float | None: ...

    def thresholds(self, score: str = "global") -> dict[float, float]: ...


class GlobalOnly:
    """The comparing half of a `Comparer` that has embeddings alone, and no measured threshold."""

    local_line = (1.0, 0.0)
    """There is no local score to make of a cosine."""

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        """Return global scores of n pairs; a single probe is compared with every face of the gallery."""
        found = (probe.embedding * gallery.embedding).sum(1, dtype=np.float64)
        return Scores(found, None, None, np.ones(len(found)))

    def threshold(self, far: float, score: str = "global") -> float | None:
        """Return None: no threshold was measured."""
        return None

    def thresholds(self, score: str = "global") -> dict[float, float]:
        """Return an empty dictionary: no thresholds were measured."""
        return {}


def without_threshold(far: float, rates: Sequence[float], *, here: bool = True) -> str:
    """Say why there is no decision, and what to do about it.

    Args:
        far: false accept rate that was asked for.
        rates: those that the model has thresholds for.
        here: name commands and options; False: whoever reads it cannot type them.
    """
    if not rates:
        reason = "no decision, for the model comes without metrics.json"
        return f"{reason}; `oaml evaluate` measures its thresholds" if here else reason
    known = ", ".join(f"{rate:g}" for rate in rates)
    option = "--far takes one of" if here else "measured are"
    return f"no decision, for no threshold was measured at FAR {far:g}; {option} {known}"
