"""What is laid on the gallery's faces: drawn occluders of the test artwork, and cut-outs of a user's folder."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.evaluation.covered.cutouts import cutouts_in, wear
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.scoring.conditions import draw_test_occluder
from oaml_core.evaluation.statistics.seed import SEED


@dataclass(frozen=True)
class Cover:
    """One kind of thing, laid on every face; the same on the same face whichever model looks at it."""

    name: str
    kind: str
    """Drawn occluder, or folder of cut-outs."""
    cutouts: tuple[Path, ...] = ()
    """Empty: it is drawn."""

    def apply(self, faces: KnownFaces) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Covered images [n, H, W, 3] and their visibility [n, H, W], 1 = visible."""
        done = [self._one(faces, row) for row in range(len(faces.images))]
        return np.stack([image for image, _ in done]), np.stack([visible for _, visible in done])

    def _one(self, faces: KnownFaces, row: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        points = None if faces.landmarks is None else faces.landmarks[row]
        if not self.cutouts:
            known = points is not None and bool(np.isfinite(points).all())
            image, mask = draw_test_occluder(
                torch.from_numpy(faces.images[row]).permute(2, 0, 1),
                torch.from_numpy(points) if known and points is not None else None,
                self.kind,
                row,
            )
            return image.permute(1, 2, 0).numpy(), mask[0].numpy()
        generator = np.random.default_rng([SEED, zlib.crc32(self.name.encode()), row])
        cutout = self.cutouts[int(generator.integers(len(self.cutouts)))]
        return wear(faces.images[row], points, self.kind, cutout, generator)


def covers(drawn: Sequence[str], folder: Path | None, *, held_out: bool = False) -> list[Cover]:
    """Drawn kinds, then the folder's kinds of cut-outs.

    Args:
        drawn: kinds that are drawn.
        folder: of cut-outs; None: none.
        held_out: lay on only cut-outs that training never does.

    Raises:
        DataError: the folder holds no cut-outs, or none is held out.
    """
    found = [Cover(f"{kind}, drawn", kind) for kind in drawn]
    if folder is not None:
        found += [
            Cover(f"{kind}, cut-outs", kind, files) for kind, files in cutouts_in(folder, held_out=held_out).items()
        ]
    return found
