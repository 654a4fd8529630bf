"""Distillation: what a covered face shows should say what the whole face says."""

from __future__ import annotations

from torch import Tensor

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
