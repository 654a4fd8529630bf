"""Training faces that ranges of 8-bit activations are taken from: every second one covered."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.prepared.dataset import FaceDataset

CALIBRATION_FACES = 128
"""Spread over the set."""


def calibration_faces(faces: FaceDataset, config: Config) -> NDArray[np.uint8]:
    """Return training faces, every second one under an occluder of the training artwork, the same at every call.

    Args:
        faces: training set.
        config: `augment.occluders` names what is drawn; empty: nothing.

    Returns:
        uint8 [n, H, W, 3] RGB, `CALIBRATION_FACES` of them or all.
    """
    chosen = np.linspace(0, len(faces) - 1, min(CALIBRATION_FACES, len(faces))).astype(int)
    kinds = config.augment.occluders
    found = []
    for number, row in enumerate(map(int, chosen)):
        image = faces.read(row)
        if kinds and number % 2:
            points = None if faces.landmarks is None else np.array(faces.landmarks[row])
            known = points is not None and bool(np.isfinite(points).all())
            generator = torch.Generator().manual_seed(number)
            kind = kinds[number // 2 % len(kinds)]
            image, _ = draw_occluder(image, points if known else None, kind, generator)
        found.append(image.permute(1, 2, 0).numpy())
    return np.stack(found)
