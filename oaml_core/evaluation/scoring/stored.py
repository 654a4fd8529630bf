"""Scores of an evaluation as they are stored beside `metrics.json`, for later comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.array_files import read_arrays
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.statistics.protocols import Bools
from oaml_core.evaluation.verdict.results import Evaluation
from oaml_core.whole_file import written_whole

SCORES_FILE = "scores.npz"
"""Beside `metrics.json`."""


@dataclass(frozen=True)
class StoredSet:
    """One set's scores as they are kept for comparisons."""

    issame: Bools
    """[N]"""
    identities: NDArray[np.int32]
    """[2, N] of the first and second images."""
    digest: str
    """Digest of images and truth; see `PairIdentities`."""
    values: dict[str, dict[str, NDArray[np.float32]]]
    """[N] by condition and score."""


def write_scores(evaluation: Evaluation, path: Path) -> None:
    """Write every pair's scores, by rename; `read_scores` reads them."""
    arrays: dict[str, NDArray[Any]] = {}
    for name, result in evaluation.sets.items():
        people = np.stack([result.identities.first, result.identities.second]).astype(np.int32)
        arrays |= {f"{name}/issame": result.issame, f"{name}/identities": people}
        arrays[f"{name}/digest"] = np.array(result.identities.digest)
        for condition, found in result.conditions.items():
            for score, judged in found.scores.items():
                arrays[f"{name}/{condition}/{score}"] = judged.values.astype(np.float32)
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_scores(path: Path) -> dict[str, StoredSet]:
    """Return scores of all sets of an evaluation.

    Raises:
        EvaluationError: the file is missing, or is no such file.
    """
    if not path.exists():
        raise EvaluationError(
            f"There is no {path}. `oaml evaluate` writes it beside metrics.json; fetch both from the store."
        )
    try:
        arrays = read_arrays(path, str(path), "Run `oaml evaluate` again.", EvaluationError)
        names = [name.removesuffix("/issame") for name in arrays if name.endswith("/issame")]
        return {name: _stored_set(arrays, name) for name in names}
    except KeyError as error:
        raise EvaluationError(
            f"{path} holds no scores of an evaluation ({error}); run `oaml evaluate` again."
        ) from None


def _stored_set(arrays: Mapping[str, NDArray[Any]], name: str) -> StoredSet:
    values: dict[str, dict[str, NDArray[np.float32]]] = {}
    for key, array in arrays.items():
        found, _, rest = key.rpartition("/")
        owner, _, condition = found.rpartition("/")
        if owner == name:
            values.setdefault(condition, {})[rest] = array
    return StoredSet(arrays[f"{name}/issame"], arrays[f"{name}/identities"], str(arrays[f"{name}/digest"]), values)
