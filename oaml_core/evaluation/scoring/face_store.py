"""Features of many faces on the disk, and scores of blocks of them.

Feature maps of 20,000 faces of an IR backbone are 2 GB: they lie in a temporary file, and a block at a time is read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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

ScoreName = Literal["global", "local", "combined"]
SCORE_NAMES: tuple[ScoreName, ...] = ("global", "local", "combined")
Rows = slice | NDArray[np.integer]


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
        self._filled = 0
        self._parts: list[NDArray[np.float32]] = []
        """The fields of `FaceFeatures`, in their order; the feature maps lie in the file."""

    def __len__(self) -> int:
        return self._faces

    def add(self, images: NDArray[np.uint8]) -> None:
        """Describe the next images, uint8 [b, H, W, 3] RGB."""
        with evaluating(self.model), torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
            found = face_features(self.model, tensor, self.device)
            if len(found.local_embedding):
                # The vector is all that is compared: a hundredth of the map.
                found = found._replace(feature_map=found.feature_map.new_empty(0))
        if not self._parts:
            self._parts = [self._room(name, part) for name, part in found._asdict().items()]
        rows = slice(self._filled, self._filled + len(images))
        for kept, part in zip(self._parts, found, strict=True):
            if len(kept):
                kept[rows] = part.float().cpu().numpy()
        self._filled += len(images)

    def _room(self, name: str, part: Tensor) -> NDArray[np.float32]:
        """Room for a part [b, …] of all faces; for a part that the model does not give, none."""
        shape = (self._faces, *part.shape[1:]) if len(part) else (0,)
        if name == "feature_map" and len(part):
            return np.memmap(self._file, np.float32, "w+", shape=shape)
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
        folder: where the temporary file lies; 4 bytes a number of the feature maps must fit.
        batch_size: images in a forward pass, each with its mirror image; on a CPU at most `CPU_BATCH`.
    """
    at_once = faces_a_pass(batch_size, device)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".faces-") as scratch:
        store = FaceStore(model, device, Path(scratch), count)
        batch: list[NDArray[np.uint8]] = []
        for image in images:
            batch.append(image)
            if len(batch) == at_once:
                store.add(np.stack(batch))
                batch.clear()
        if batch:
            store.add(np.stack(batch))
        yield store


def _numbers(scores: Tensor) -> NDArray[np.float32]:
    return scores.float().cpu().numpy()
