"""Features of many faces on the disk, and scores of blocks of them.

Feature maps of 20,000 faces of an IR backbone are 2 GB: they lie in a temporary file, and a block at a time is read.
They are described in runs, each of which another process may describe as well.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.evaluation.scoring.face_features import FaceFeatures, face_features, faces_a_pass, local_scores
from oaml_core.evaluation.scoring.scores import PairScores, compare_features, join_scores
from oaml_core.inference.combining import CombinedRule
from oaml_core.models.modes import evaluating
from oaml_core.models.recogniser import Recogniser
from oaml_core.reserved_file import reserve

ScoreName = Literal["global", "local", "combined"]
SCORE_NAMES: tuple[ScoreName, ...] = ("global", "local", "combined")
Rows = slice | NDArray[np.integer]
FaceArrays = Mapping[str, NDArray[np.float32]]
"""Fields of `FaceFeatures` of some faces, by name; empty where the model gives none."""

RUN = 256
"""Faces that are described together. Batches begin anew with each run, so that the features of a run, to the last bit,
depend on no other: shards of a folder describe whole runs."""


class FaceStore:
    """Features of n faces; `described` makes one.

    Args:
        model: recogniser, on `device`.
        device: where the model is.
        folder: for the file of the feature maps.
        faces: n.
    """

    def __init__(self, model: Recogniser, device: torch.device | str, folder: Path, faces: int) -> None:
        self.model = model
        self.device = device
        self._file = folder / "maps"
        self._faces = faces
        self._parts: list[NDArray[np.float32]] = []
        """The fields of `FaceFeatures`, in their order; the feature maps lie in the file."""

    def __len__(self) -> int:
        return self._faces

    def put(self, start: int, found: FaceArrays) -> None:
        """Keep the features of some faces, as `describe` returns them.

        Args:
            start: number of the first of them.
            found: their features.

        Raises:
            KeyError, ValueError: a field is missing, or of another shape than that of the faces before.
            OSError: the disk has no room for the feature maps of all faces.
        """
        if not self._parts:
            self._parts = [self._room(name, found[name]) for name in FaceFeatures._fields]
        for name, kept in zip(FaceFeatures._fields, self._parts, strict=True):
            if len(kept) or len(found[name]):
                kept[start : start + len(found["embedding"])] = found[name]

    def _room(self, name: str, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Room for a part [b, …] of all faces; for a part that the model does not give, none."""
        shape = (self._faces, *part.shape[1:]) if len(part) else (0,)
        if name == "feature_map" and len(part):
            reserve(self._file, math.prod(shape) * part.itemsize)
            return np.memmap(self._file, np.float32, "r+", shape=shape)
        return np.empty(shape, np.float32)

    def features(self, rows: Rows) -> FaceFeatures:
        """Return features of some faces, on the model's device."""
        parts = (part[rows] if len(part) else part for part in self._parts)
        return FaceFeatures(*(torch.from_numpy(np.array(part)).to(self.device) for part in parts))

    def pair_scores(self, first: NDArray[np.integer], second: NDArray[np.integer], batch: int = 256) -> PairScores:
        """Return scores of the pairs first[k], second[k]."""
        found = []
        with evaluating(self.model), torch.inference_mode():
            for start in range(0, len(first), batch):
                a, b = self.features(first[start : start + batch]), self.features(second[start : start + batch])
                found.append(compare_features(self.model, a, b, torch.ones_like(b.visibility)))
        return join_scores(found)

    def block(
        self, rows: Rows, columns: Rows, names: Iterable[ScoreName], rule: CombinedRule | None = None
    ) -> dict[ScoreName, NDArray[np.float32]]:
        """Return scores [rows, columns] of every face with every other.

        Args:
            rows: numbers of faces.
            columns: numbers of faces.
            names: which scores.
            rule: of the combined score, if it is among them.
        """
        wanted = set(names)
        with evaluating(self.model), torch.inference_mode():
            a, b = self.features(rows), self.features(columns)
            alone = _numbers(a.embedding @ b.embedding.T)
            if wanted == {"global"}:
                return {"global": alone}
            local = _numbers(local_scores(self.model, a, b))
        found: dict[ScoreName, NDArray[np.float32]] = {"global": alone, "local": local}
        if rule is not None:
            found["combined"] = rule.of(alone.astype(np.float64), local.astype(np.float64)).astype(np.float32)
        return {name: scores for name, scores in found.items() if name in wanted}


def describe(
    model: Recogniser, images: Iterable[NDArray[np.uint8]], device: torch.device | str, batch_size: int = 256
) -> FaceArrays:
    """Return features of a run of images.

    Args:
        model: recogniser, on `device`.
        images: at least one, uint8 [H, W, 3] RGB.
        device: where the model is.
        batch_size: images in a forward pass, each with its mirror image; on a CPU at most `CPU_BATCH`.
    """
    rest, at_once = iter(images), faces_a_pass(batch_size, device)
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in FaceFeatures._fields}
    with evaluating(model), torch.inference_mode():
        while batch := list(islice(rest, at_once)):
            features = face_features(model, torch.from_numpy(np.stack(batch)).permute(0, 3, 1, 2), device)
            if len(features.local_embedding):
                # The vector is all that is compared: a hundredth of the map.
                features = features._replace(feature_map=features.feature_map.new_empty(0))
            for name, part in features._asdict().items():
                found[name].append(_numbers(part))
    return {name: np.concatenate(parts) for name, parts in found.items()}


@contextmanager
def face_store(model: Recogniser, count: int, device: torch.device | str, folder: Path) -> Iterator[FaceStore]:
    """Room for the features of `count` faces for as long as the block lasts.

    Args:
        model: recogniser, on `device`.
        count: number of faces.
        device: where the model is.
        folder: where the temporary file lies; 4 bytes a number of the feature maps must fit.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".faces-") as scratch:
        yield FaceStore(model, device, Path(scratch), count)


@contextmanager
def described(
    model: Recogniser,
    images: Iterable[NDArray[np.uint8]],
    count: int,
    device: torch.device | str,
    folder: Path,
    batch_size: int = 256,
) -> Iterator[FaceStore]:
    """Features of `count` images [H, W, 3] for as long as the block lasts.

    Args:
        model: recogniser, on `device`.
        images: uint8 [H, W, 3] RGB, one at a time.
        count: how many there are.
        device: where the model is.
        folder: as of `face_store`.
        batch_size: as of `describe`.
    """
    rest = iter(images)
    with face_store(model, count, device, folder) as faces:
        for start in range(0, count, RUN):
            faces.put(start, describe(model, islice(rest, RUN), device, batch_size))
        yield faces


def _numbers(scores: Tensor) -> NDArray[np.float32]:
    return scores.float().cpu().numpy()
