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

from oaml_core.evaluation.scoring.combine import CombinedRule
from oaml_core.evaluation.scoring.face_features import CPU_BATCH, FaceFeatures, face_features
from oaml_core.evaluation.scoring.scores import PairScores, compare_features, join_scores
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
        self._embedding: NDArray[np.float32] | None = None
        self._visibility: NDArray[np.float32] | None = None
        self._norm: NDArray[np.float32] | None = None
        self._maps: np.memmap[tuple[int, ...], np.dtype[np.float32]] | None = None

    def __len__(self) -> int:
        return self._faces

    def add(self, images: NDArray[np.uint8]) -> None:
        """Describe the next images, uint8 [b, H, W, 3] RGB."""
        with evaluating(self.model), torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
            found = FaceFeatures(*(part.float().cpu() for part in face_features(self.model, tensor, self.device)))
        if self._maps is None:
            shapes = [(self._faces, *part.shape[1:]) for part in found]
            self._embedding = np.empty(shapes[0], np.float32)
            self._maps = np.memmap(self._file, np.float32, "w+", shape=shapes[1])
            self._visibility = np.empty(shapes[2], np.float32)
            self._norm = np.empty(shapes[3], np.float32)
        rows = slice(self._filled, self._filled + len(images))
        assert self._embedding is not None
        assert self._visibility is not None
        assert self._norm is not None
        self._embedding[rows], self._maps[rows], self._visibility[rows], self._norm[rows] = (
            part.numpy() for part in found
        )
        self._filled += len(images)

    def features(self, rows: Rows) -> FaceFeatures:
        """Return features of some faces, on the model's device."""
        assert self._embedding is not None
        assert self._visibility is not None
        assert self._maps is not None
        assert self._norm is not None
        parts = (self._embedding[rows], self._maps[rows], self._visibility[rows], self._norm[rows])
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
            local = _numbers(self.model.matcher.match(a.feature_map, b.feature_map, a.visibility, b.visibility))
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
    limit = min(batch_size, CPU_BATCH) if torch.device(device).type == "cpu" else batch_size
    with tempfile.TemporaryDirectory(dir=folder, prefix=".faces-") as scratch:
        store = FaceStore(model, device, Path(scratch), count)
        batch: list[NDArray[np.uint8]] = []
        for image in images:
            batch.append(image)
            if len(batch) == max(1, limit // 2):
                store.add(np.stack(batch))
                batch.clear()
        if batch:
            store.add(np.stack(batch))
        yield store


def _numbers(scores: Tensor) -> NDArray[np.float32]:
    return scores.float().cpu().numpy()
