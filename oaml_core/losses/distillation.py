"""Distillation: what a covered face shows should say what the whole face says."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from oaml_core.errors import ModelInputError


def distance_to(embedding: Tensor, target: Tensor) -> Tensor:
    """Return 1 − cosine of each embedding and its target, [B] in [0, 2]; no gradient reaches the target.

    Args:
        embedding: [B, E] at unit length, of covered faces.
        target: [B, E] at unit length, of the same faces without cover.

    Raises:
        ModelInputError: the two have other shapes.
    """
    if embedding.shape != target.shape:
        raise ModelInputError(
            f"Embeddings of {list(embedding.shape)} cannot be compared with targets of {list(target.shape)}: the "
            "pooled matcher must make embeddings of the backbone's size."
        )
    return 1 - (embedding * target.detach()).sum(1)


def contrast(
    embedding: Tensor, target: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor, *, scale: float
) -> Tensor:
    """Return the cross-entropy [B] of picking a face's own target among the targets of all other people's faces.

        −log(exp(s·cos(z, e)) / (exp(s·cos(z, e)) + Σ_k exp(s·cos(z, e_k)))),     k: faces of other people

    This is InfoNCE with fixed keys (van den Oord et al. 2018, eq. 4). A covered face that comes to lie near a stranger
    is drawn away from that stranger; 1 − cosine asks as much of a face that nobody resembles. No gradient reaches the
    targets.

    Args:
        embedding: [B, E] at unit length, of covered faces.
        target: [B, E] at unit length, of the same faces without cover.
        labels: int64 [B], whose faces these are.
        known: [N, E] at unit length, targets of all training faces.
        known_labels: int64 [N], whose they are.
        scale: s, the inverse temperature.
    """
    own = scale * (embedding * target.detach()).sum(1)
    others = scale * (embedding @ known.detach().T)
    others = others.masked_fill(labels[:, None] == known_labels, float("-inf"))
    return functional.softplus(torch.logsumexp(others, 1) - own)
