"""Scores of the benchmark's pairs by one model: the first face as it is, the second one covered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.evaluation.covered.cover import Cover
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.evaluation.scoring.identities import PairIdentities
from oaml_core.evaluation.scoring.scores import PairScores
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.fusion import pair_quality, region_shares
from oaml_core.inference.records import FaceRecords
from oaml_core.inference.strangers import Strangers
from oaml_core.visibility import resize_visibility

Floats = NDArray[np.float64]
BATCH = 64
PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of faces, drawn once for all models and conditions."""

    first: NDArray[np.int64]
    """[N] rows of the probes."""
    second: NDArray[np.int64]
    """[N] rows of the gallery's faces."""
    issame: NDArray[np.bool_]
    people: PairIdentities


def draw_pairs(faces: KnownFaces, probes: NDArray[np.bool_], gallery: NDArray[np.bool_], impostors: int) -> Pairs:
    """Return all genuine ordered pairs of different faces, and impostor pairs drawn without repetition.

    Args:
        faces: of known people.
        probes: [n], faces that may come first.
        gallery: [n], faces that may come second.
        impostors: most impostor pairs; all of them where there are no more.
    """
    one, other = np.flatnonzero(probes), np.flatnonzero(gallery)
    same = faces.people[one][:, None] == faces.people[other]
    genuine = np.argwhere(same & (one[:, None] != other))
    strangers = np.flatnonzero(~same)
    generator = np.random.default_rng(SEED)
    chosen = (
        strangers if len(strangers) <= impostors else np.sort(generator.choice(strangers, impostors, replace=False))
    )
    both = np.concatenate([genuine, np.stack(np.unravel_index(chosen, same.shape), axis=1)])
    first, second = one[both[:, 0]], other[both[:, 1]]
    issame = np.arange(len(both)) < len(genuine)
    return Pairs(first, second, issame, PairIdentities(faces.people[first], faces.people[second], "given", ""))


@dataclass(frozen=True)
class Scored:
    """One condition's pairs, scored by one model."""

    pairs: PairScores
    own: Mapping[str, Floats]
    """[N] scores of the model itself: `global`, and where it has them `local`, `combined` and `calibrated`."""
    iou: float | None
    """Covered places of the gallery's faces, predicted and true: Σ intersection / Σ union; None: no map, no cover."""
    covered_share: float = 0.0
    """Mean share of the gallery's images that is covered."""


def describe(model: Comparer, images: NDArray[np.uint8]) -> FaceRecords:
    """Records of all faces [n, H, W, 3], by the batch."""
    parts = [model.records(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    return FaceRecords(*map(np.concatenate, zip(*parts, strict=True)))


def score(
    model: Comparer,
    probes: FaceRecords,
    gallery: FaceRecords,
    cover: Cover | None,
    truth: NDArray[np.float32] | None,
    pairs: Pairs,
    strangers: Strangers | None = None,
) -> Scored:
    """Score every pair of the protocol.

    Args:
        model: that described the faces.
        probes: of all faces, uncovered.
        gallery: of all faces, covered.
        cover: what was laid on the gallery's faces; None: nothing.
        truth: [n, H, W] true visibility of the gallery's faces; None: not known.
        pairs: rows of both.
        strangers: by whom the spreads of the faces' scores are told; None: they are not.
    """
    columns: dict[str, list[Floats]] = {}
    for start in range(0, len(pairs.first), PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        one, other = probes.rows(pairs.first[rows]), gallery.rows(pairs.second[rows])
        found = model.scores(one, other)
        parts = {
            "global": found.global_score,
            "local": found.local_score,
            "combined": found.combined_score,
            "calibrated": found.calibrated_score,
            "visible": found.visible_share,
            "regions": region_shares(one.visibility, other.visibility),
            "quality": pair_quality(one.norm, other.norm),
        }
        for name, values in parts.items():
            if values is not None:
                columns.setdefault(name, []).append(values)
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    nothing = np.zeros(len(pairs.first))
    scores = PairScores(
        whole["global"],
        whole.get("local", nothing),
        whole["visible"],
        *(nothing,) * 4,
        np.zeros((len(nothing), 3, 1)),
        whole["regions"],
        whole["quality"],
        None if strangers is None else _spreads(strangers, probes, gallery, pairs),
    )
    own: dict[str, Floats] = {
        str(name): whole[name] for name in ("global", "local", "combined", "calibrated") if name in whole
    }
    known = cover is not None and truth is not None and "local" in own
    iou = _iou(gallery.visibility, truth) if known and truth is not None else None
    return Scored(scores, own, iou, 0.0 if truth is None else float(1 - truth.mean()))


def _spreads(strangers: Strangers, probes: FaceRecords, gallery: FaceRecords, pairs: Pairs) -> Floats:
    one, other = (strangers.spread(side.embedding, side.local_embedding) for side in (probes, gallery))
    return np.stack([one[pairs.first], other[pairs.second]], axis=1)


def _iou(predicted: NDArray[np.float32], truth: NDArray[np.float32]) -> float | None:
    small = resize_visibility(
        torch.from_numpy(truth[:, None]).float(), (predicted.shape[2], predicted.shape[3])
    ).numpy()
    hidden, said = small < 0.5, predicted < 0.5
    union = int((hidden | said).sum())
    return int((hidden & said).sum()) / union if union else None
