"""Strangers that combined scores are measured by: faces of training, each of another person."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.evaluation.scoring.face_features import face_features, faces_a_pass
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.inference.strangers import FEWEST, Strangers
from oaml_core.models.modes import evaluating
from oaml_core.models.pooled import PooledAlone
from oaml_core.models.recogniser import Recogniser
from oaml_core.progress import progress

log = logging.getLogger(__name__)


def strangers_among(
    model: Recogniser, faces: FaceDataset, count: int, device: torch.device | str = "cpu", batch_size: int = 256
) -> Strangers | None:
    """Return the strangers of a model that makes one vector of a face.

    Args:
        model: recogniser, on `device`.
        faces: of training; one of each of `count` people is described, drawn by a fixed seed.
        count: most people; 0: nothing is measured by strangers.
        device: where the model is.
        batch_size: images in a forward pass, each with its mirror image; on a CPU at most `CPU_BATCH`.

    Returns:
        None for other models, and where there are fewer than `FEWEST` people.
    """
    if not count or not isinstance(model.matcher, PooledAlone):
        return None
    if faces.num_identities < FEWEST or count < FEWEST:
        log.info(
            "Combined scores stay weighted means: %d people are too few to measure them by, %d are needed.",
            min(count, faces.num_identities),
            FEWEST,
        )
        return None
    rows = _one_each(faces, count)
    step = faces_a_pass(batch_size, device)
    starts = range(0, len(rows), step)
    found: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    with evaluating(model), torch.inference_mode():
        for start in progress(starts, len(starts), "strangers, batches of faces"):
            images = faces.read_batch(rows[start : start + step].tolist())
            described = face_features(model, images, device)
            found.append((described.embedding.float().cpu().numpy(), described.local_embedding.cpu().numpy()))
    embedding, local = (np.concatenate(part) for part in zip(*found, strict=True))
    return Strangers.of(embedding, local)


def local_line(model: Recogniser) -> tuple[float, float]:
    """Return scale and shift that make the local score of a local cosine; 1 and 0 of models that make no vector."""
    return model.matcher.line if isinstance(model.matcher, PooledAlone) else (1.0, 0.0)


def _one_each(faces: FaceDataset, count: int) -> NDArray[np.int64]:
    """Return the row of one image, in order, of each of at most `count` people."""
    draws = np.random.default_rng(SEED)
    people = draws.permutation(faces.num_identities)[:count]
    shuffled = draws.permutation(len(faces))
    _, first = np.unique(faces.labels[shuffled], return_index=True)
    return np.sort(shuffled[first[people]])
