"""What restoration does to recognition: verification of degraded faces, with and without it.

The first face of each pair stays as it is; the second is measured in the dark, or covered across the middle. Intervals
are over identities, and the same resamples serve every row, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oaml_core.config import RestorationConfig
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.evaluation.scoring.face_features import face_features
from oaml_core.evaluation.scoring.identities import identities_of
from oaml_core.evaluation.statistics.bootstrap import IdentityBootstrap, Interval
from oaml_core.evaluation.statistics.protocols import ten_fold_any_range
from oaml_core.evaluation.statistics.roc import auc, roc, tar_at_far
from oaml_core.models.recogniser import Recogniser
from oaml_core.progress import progress
from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.evaluate import (
    CAMERAS,
    CLASSICAL,
    COVERED,
    MEASURED,
    RESTORED,
    RecognitionRow,
    hidden_middle,
)
from oaml_core.restoration.face_tiles import to_bytes, to_tile
from oaml_core.restoration.measurement import Identity, measure
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.restore import posterior_mean

CLEAN, DARK = "clean", "dark"
"""Conditions, beside `COVERED`."""
FAR, COARSE_FAR, LEAST_ACCEPTS = 1e-2, 1e-1, 5
"""False accept rate of the TAR; the second one where the first would accept fewer impostor pairs than the third."""
PART = 32
"""Pairs that are restored at a time."""


def recognition_effect(
    model: Recogniser,
    denoiser: Denoiser,
    pairs: VerificationSet,
    config: RestorationConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> list[RecognitionRow]:
    """Verification with the global score when the second face of each pair is degraded, and when it is restored.

    Args:
        model: the recogniser.
        denoiser: the prior.
        pairs: `config.test_pairs` of them in the dark and `config.test_covered_pairs` covered, evenly spread; none of
            their people may have trained the prior.
        config: of the sampling.
        seed: of the simulated noise, and of the sampling.
        device: to restore and embed on.
    """
    rows: list[RecognitionRow] = []
    for condition, count in ((DARK, config.test_pairs), (COVERED, config.test_covered_pairs)):
        if count == 0:
            continue
        chosen = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(np.int64))
        first = _tiles(pairs.images, 2 * chosen)
        second = _tiles(pairs.images, 2 * chosen + 1)
        probes, clean = _embeddings(model, first, device), _embeddings(model, second, device)
        parts = [
            {name: _embeddings(model, faces, device) for name, faces in versions.items()}
            for versions in _degraded(denoiser, second, condition, config, seed, device)
        ]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        scores = {(CLEAN, MEASURED): clean} | {(condition, name): found for name, found in whole.items()}
        rows += _rows({key: (probes * other).sum(1).double().numpy() for key, other in scores.items()}, pairs, chosen)
    return rows


def _degraded(
    denoiser: Denoiser, faces: Tensor, condition: str, config: RestorationConfig, seed: int, device: str
) -> Iterator[Mapping[str, Tensor]]:
    """Yield faces [N, 3, H, W] measured under a condition, and restored, some at a time."""
    noise = CAMERAS["light" if condition == COVERED else condition]
    generator = generator_of("measured", seed)
    for number in progress(range(0, len(faces), PART), -(-len(faces) // PART), f"restoring {condition} faces"):
        part = faces[number : number + PART]
        seen = hidden_middle(part) if condition == COVERED else None
        measured = measure(part, Identity(), noise, generator, seen)
        restored = posterior_mean(denoiser, measured, tuple(part.shape[1:]), config, seed=seed + number, device=device)
        classical = {} if seen is not None else {CLASSICAL: non_local_means(measured.observed, noise)}
        yield {MEASURED: measured.observed} | classical | {RESTORED: restored}


def _rows(
    scores: Mapping[tuple[str, str], NDArray[np.float64]], pairs: VerificationSet, chosen: NDArray[np.int64]
) -> list[RecognitionRow]:
    """Return figures of each [N] scores of the chosen pairs; the second ones are those as measured."""
    same, people = np.asarray(pairs.issame)[chosen], identities_of(pairs)
    bootstrap = IdentityBootstrap(people.first[chosen], people.second[chosen], same, np.random.default_rng(0))
    correct = np.stack([ten_fold_any_range(values, same).correct for values in scores.values()], axis=1)
    drawn, found = bootstrap.shares(correct), correct.mean(0)
    far = FAR if FAR * (~same).sum() >= LEAST_ACCEPTS else COARSE_FAR
    rows = []
    for k, ((condition, faces), values) in enumerate(scores.items()):
        curve = roc(values, same)
        tar = tar_at_far(curve, [far])[0].tar or 0.0
        degraded = condition != CLEAN and faces != MEASURED
        rows.append(
            RecognitionRow(
                condition=condition,
                faces=faces,
                pairs=len(chosen),
                accuracy=Interval.of(float(found[k]), drawn[:, k]),
                gain=Interval.of(float(found[k] - found[1]), drawn[:, k] - drawn[:, 1]) if degraded else None,
                auc=auc(curve),
                far=far,
                tar=Interval.of(tar, bootstrap.tar_at_far(values, [far])[:, 0]),
            )
        )
    return rows


def _tiles(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    return to_tile(torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2))


def _embeddings(model: Recogniser, tiles: Tensor, device: str) -> Tensor:
    """Return unit embeddings [N, E] of tiles as 8-bit images, as a recogniser would be given them."""
    with torch.inference_mode():
        parts = to_bytes(tiles).split(64)
        return torch.cat([face_features(model, part, device).embedding.float().cpu() for part in parts])
