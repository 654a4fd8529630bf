"""What restoration does to recognition: verification of degraded faces, with and without it.

The first face of each pair stays as it is; the second is measured in the dark, or covered across the middle. Accuracy
and AUC are of the pairs, TAR and FAR of all first and second faces with each other. Intervals are over identities, and
the same resamples serve every row, so that differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

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
from oaml_core.evaluation.statistics.roc import auc, roc
from oaml_core.models.recogniser import Recogniser
from oaml_core.progress import progress
from oaml_core.restoration.classical import non_local_means
from oaml_core.restoration.cross_pairs import CrossPairs
from oaml_core.restoration.edm import Denoiser
from oaml_core.restoration.evaluate import (
    ALL_SAMPLES,
    CAMERAS,
    CLASSICAL,
    COVERED,
    MEASURED,
    ONE_SAMPLE,
    RESTORED,
    RecognitionRow,
    hidden_middle,
)
from oaml_core.restoration.face_tiles import to_bytes, to_tile
from oaml_core.restoration.measurement import Identity, measure
from oaml_core.restoration.randomness import generator_of
from oaml_core.restoration.restore import posterior_mean, restore

CLEAN, DARK = "clean", "dark"
"""Conditions, beside `COVERED`."""
FARS, LEAST_ACCEPTS = (1e-3, 1e-2, 1e-1), 5
"""False accept rates of the TAR: the first one that accepts so many impostors, or the last."""
PART = 32
"""Pairs that are restored at a time."""

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Faces uint8 [n, S, S, 3] RGB to unit embeddings [n, E]."""
Scores = Mapping[tuple[str, str], NDArray[np.float64]]
"""Scores [n, n] of first faces by second faces, by the condition and the kind of the second ones."""


def embedding_of(model: Recogniser, device: str = "cpu") -> Embed:
    """Return a function from faces to a recogniser's embeddings, image and mirrored image fused.

    Args:
        model: recogniser in evaluation mode, on `device`.
        device: where it runs.
    """

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            faces = torch.from_numpy(images).permute(0, 3, 1, 2)
            return face_features(model, faces, device).embedding.float().cpu().numpy()

    return embed


def recognition_effect(
    embed: Embed,
    denoiser: Denoiser,
    pairs: VerificationSet,
    config: RestorationConfig,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> list[RecognitionRow]:
    """Verification with the global score when the second face of each pair is degraded, and when it is restored.

    Args:
        embed: the recogniser.
        denoiser: the prior.
        pairs: `config.test_pairs` of them in the dark and `config.test_covered_pairs` covered, evenly spread; none of
            their people may have trained the prior.
        config: of the sampling.
        seed: of the simulated noise, and of the sampling.
        device: to restore on.
    """
    rows: list[RecognitionRow] = []
    for condition, count in ((DARK, config.test_pairs), (COVERED, config.test_covered_pairs)):
        if count == 0:
            continue
        chosen = np.unique(np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(np.int64))
        first = _tiles(pairs.images, 2 * chosen)
        second = _tiles(pairs.images, 2 * chosen + 1)
        probes, clean = _embeddings(embed, first), _embeddings(embed, second)
        parts = list(_degraded(embed, denoiser, second, condition, config, seed, device))
        kinds = {(CLEAN, MEASURED): clean} | {
            (condition, name): np.concatenate([part[name] for part in parts]) for name in parts[0]
        }
        rows += _rows({kind: (probes @ found.T).astype(np.float64) for kind, found in kinds.items()}, pairs, chosen)
    return rows


def _degraded(
    embed: Embed, denoiser: Denoiser, faces: Tensor, condition: str, config: RestorationConfig, seed: int, device: str
) -> Iterator[Mapping[str, NDArray[np.float32]]]:
    """Yield embeddings of faces [N, 3, H, W] measured under a condition, and restored, some at a time."""
    noise = CAMERAS["light" if condition == COVERED else condition]
    generator = generator_of("measured", seed)
    for number in progress(range(0, len(faces), PART), -(-len(faces) // PART), f"restoring {condition} faces"):
        part = faces[number : number + PART]
        seen = hidden_middle(part) if condition == COVERED else None
        measured = measure(part, Identity(), noise, generator, seen)
        found = {MEASURED: _embeddings(embed, measured.observed)}
        if seen is None:
            mean = posterior_mean(denoiser, measured, tuple(part.shape[1:]), config, seed=seed + number, device=device)
            found[CLASSICAL] = _embeddings(embed, non_local_means(measured.observed, noise))
            yield found | {RESTORED: _embeddings(embed, mean)}
            continue
        mean, _, samples = restore(denoiser, measured, tuple(part.shape[1:]), config, seed=seed + number, device=device)
        each = np.stack([_embeddings(embed, sample) for sample in samples])
        together = each.sum(0)
        together /= np.linalg.norm(together, axis=1, keepdims=True)
        yield found | {RESTORED: _embeddings(embed, mean), ONE_SAMPLE: each[0], ALL_SAMPLES: together}


def _rows(scores: Scores, pairs: VerificationSet, chosen: NDArray[np.int64]) -> list[RecognitionRow]:
    """Return figures of the chosen pairs; the first scores are of clean faces, the second of faces as measured."""
    same, people = np.asarray(pairs.issame)[chosen], identities_of(pairs)
    first, second = people.first[chosen], people.second[chosen]
    bootstrap = IdentityBootstrap(first, second, same, np.random.default_rng(0))
    cross = CrossPairs(first, second, same)
    correct = np.stack([ten_fold_any_range(np.diag(found), same).correct for found in scores.values()], axis=1)
    drawn, shares = bootstrap.shares(correct), correct.mean(0)
    far = next((rate for rate in FARS if rate * cross.impostors >= LEAST_ACCEPTS), FARS[-1])
    _, clean, _ = cross.tar(scores[CLEAN, MEASURED], far)
    columns = []
    for k, found in enumerate(scores.values()):
        tar, _, tars = cross.tar(found, far)
        columns.append(((float(shares[k]), drawn[:, k]), (tar, tars), *cross.accepted(found, clean)))
    rows = []
    for (condition, faces), found, column in zip(scores, scores.values(), columns, strict=True):
        gains: list[Interval | None] = [None] * len(column)
        intervals = [Interval.of(value, resampled) for value, resampled in column]
        if condition != CLEAN and faces != MEASURED:
            gains = [
                Interval.of(value - before, resampled - resampled_before)
                for (value, resampled), (before, resampled_before) in zip(column, columns[1], strict=True)
            ]
        rows.append(
            RecognitionRow(
                condition=condition,
                faces=faces,
                pairs=len(chosen),
                accuracy=intervals[0],
                gain=gains[0],
                auc=auc(roc(np.diag(found), same)),
                impostors=cross.impostors,
                far=far,
                tar=intervals[1],
                tar_gain=gains[1],
                tar_deployed=intervals[2],
                far_deployed=intervals[3],
                far_gain=gains[3],
            )
        )
    return rows


def _tiles(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Tensor:
    return to_tile(torch.from_numpy(np.ascontiguousarray(images[rows])).permute(0, 3, 1, 2))


def _embeddings(embed: Embed, tiles: Tensor) -> NDArray[np.float32]:
    """Return unit embeddings [N, E] of tiles as 8-bit images, as a recogniser would be given them."""
    images = to_bytes(tiles).permute(0, 2, 3, 1).cpu().numpy()
    return np.concatenate([embed(np.ascontiguousarray(images[k : k + PART])) for k in range(0, len(images), PART)])
