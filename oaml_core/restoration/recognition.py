"""What restoration does to recognition: verification of degraded faces, with and without it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config_restoration import RestorationConfig
from oaml_core.data.verification import VerificationSet
from oaml_core.evaluation.protocols import ten_fold_any_range
from oaml_core.evaluation.roc import auc, roc
from oaml_core.evaluation.scores import face_features
from oaml_core.models.recogniser import Recogniser
from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.evaluate import CAMERAS, restore
from oaml_core.restoration.face_tiles import to_tile
from oaml_core.restoration.measurement import Identity, measure

EXPOSURE = "dark"
"""Of the second face of each pair."""


def recognition_effect(
    model: Recogniser,
    denoiser: Denoiser,
    pairs: VerificationSet,
    config: RestorationConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> list[dict[str, float | str]]:
    """Accuracy and AUC of the global score when the second face of each pair is dark and noisy.

    Args:
        model: the recogniser.
        denoiser: the prior.
        pairs: `config.test_pairs` of them are taken, evenly spread; none of their people may have trained the prior.

    Returns:
        One row each for the clean, the noisy and the restored second face: `faces`, `accuracy`, `auc`, `pairs`.
    """
    chosen = np.linspace(0, len(pairs.issame) - 1, min(config.test_pairs, len(pairs.issame))).round().astype(int)
    first, second = (_tiles(pairs.images, 2 * chosen + side) for side in (0, 1))
    noise = CAMERAS[EXPOSURE]
    measured = measure(second, Identity(), noise, torch.Generator().manual_seed(seed))
    mean, _, _ = restore(denoiser, measured, tuple(second.shape[1:]), config, seed=seed, device=device)
    versions = {
        "clean": second,
        f"{EXPOSURE}, as measured": measured.observed,
        f"{EXPOSURE}, non-local means": non_local_means(measured.observed, noise),
        f"{EXPOSURE}, restored": mean,
    }
    probes = _embeddings(model, first, device)
    rows: list[dict[str, float | str]] = []
    for name, faces in versions.items():
        scores = (probes * _embeddings(model, faces, device)).sum(1).double().numpy()
        same = np.asarray(pairs.issame)[chosen]
        rows.append(
            {
                "faces": name,
                "accuracy": ten_fold_any_range(scores, same).accuracy,
                "auc": auc(roc(scores, same)),
                "pairs": len(chosen),
            }
        )
    return rows


def _tiles(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    return to_tile(torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2))


def _embeddings(model: Recogniser, tiles: Tensor, device: str) -> Tensor:
    """Unit embeddings [N, E] of tiles as 8-bit images, as a recogniser would be given them."""
    images = ((tiles.clamp(-1, 1) + 1) * 127.5).round().byte()
    parts = [face_features(model, part, device).embedding.float().cpu() for part in images.split(64)]
    return torch.cat(parts)
