"""Features that comparing needs, of images and their mirror images; an image of many pairs is described once."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from oaml_core.models.features import Features
from oaml_core.models.pooled import PooledAlone
from oaml_core.models.recogniser import Recogniser

CPU_BATCH = 24
"""Images in a forward pass on a CPU at most: larger batches fall out of its cache and take twice as long."""

KEPT_BYTES = 2**28
"""Most bytes of features that are kept; the oldest make room for others, and pass again if they return."""


def faces_a_pass(batch_size: int, device: torch.device | str) -> int:
    """Return how many faces pass at once, each with its mirror image.

    Args:
        batch_size: images in a forward pass; on a CPU at most `CPU_BATCH`.
        device: where the model is.
    """
    images = min(batch_size, CPU_BATCH) if torch.device(device).type == "cpu" else batch_size
    return max(1, images // 2)


class FaceFeatures(NamedTuple):
    """The features of n faces that comparing pairs needs."""

    embedding: Tensor
    """[n, E], unit length, image and mirrored image fused."""
    feature_map: Tensor
    """[n, C, h, w] of the image itself."""
    visibility: Tensor
    """[n, 1, h, w], in [0, 1]."""
    norm: Tensor
    """[n], length of the embedding before normalisation, mean over image and mirrored image."""
    local_embedding: Tensor
    """[n, E], unit length, image and mirrored image fused, where the matcher compares one vector per face; else [0]."""


def face_features(model: Recogniser, images: Tensor, device: torch.device | str) -> FaceFeatures:
    """Return features of images and their mirror images, in one forward pass of 2n images.

    Args:
        model: recogniser in evaluation mode.
        images: uint8 [n, 3, H, W] RGB.
        device: where the model is.
    """
    images = images.to(device, non_blocking=True)
    both: Features = model(torch.cat([images, images.flip(-1)]))
    n = len(images)
    local = images.new_empty(0, dtype=torch.float32)
    if isinstance(model.matcher, PooledAlone):
        described = model.matcher.describe(both.feature_map, both.visibility).float()
        local = normalize(described[:n] + described[n:], dim=1)
    return FaceFeatures(
        fuse_by_norm(both.embedding[:n], both.norm[:n], both.embedding[n:], both.norm[n:]),
        both.feature_map[:n],
        both.visibility[:n],
        (both.norm[:n] + both.norm[n:]).float().flatten() / 2,
        local,
    )


def local_scores(model: Recogniser, probe: FaceFeatures, gallery: FaceFeatures) -> Tensor:
    """Return local scores [P, G] of every probe with every face of the gallery."""
    if isinstance(model.matcher, PooledAlone):
        return model.matcher.logits(probe.local_embedding @ gallery.local_embedding.T)
    return model.matcher.match(probe.feature_map, gallery.feature_map, probe.visibility, gallery.visibility)


def local_pair_scores(model: Recogniser, first: FaceFeatures, second: FaceFeatures) -> Tensor:
    """Return local scores [n] of n pairs."""
    if isinstance(model.matcher, PooledAlone):
        return model.matcher.logits((first.local_embedding * second.local_embedding).sum(1))
    return model.matcher.match_pairs(first.feature_map, second.feature_map, first.visibility, second.visibility)


def fuse_by_norm(embedding: Tensor, norm: Tensor, mirrored: Tensor, mirrored_norm: Tensor) -> Tensor:
    """Return unit embeddings of image and mirrored image, weighted by their norms (AdaFace, `fuse_features_with_norm`).

    Args:
        embedding: [n, E], unit length.
        norm: [n, 1], length before normalisation.
        mirrored: [n, E], unit length, of the mirrored images.
        mirrored_norm: [n, 1].
    """
    return normalize(embedding.float() * norm.float() + mirrored.float() * mirrored_norm.float(), dim=1)


class DescribedOnce:
    """Features of images, kept as far as they fit into `limit` bytes.

    Args:
        model: recogniser in evaluation mode; it must not change while this object is used.
        device: where the model is, and where the features stay.
        limit: bytes of features that are kept.
    """

    def __init__(self, model: Recogniser, device: torch.device | str, limit: int = KEPT_BYTES) -> None:
        self._model, self._device, self._limit = model, device, limit
        self._kept: dict[bytes, FaceFeatures] = {}
        self.bytes = 0
        """Size of the features that are kept now."""

    def of(self, images: Tensor) -> FaceFeatures:
        """Return features of images uint8 [n, 3, H, W] RGB, n > 0."""
        keys = [hashlib.blake2b(image.contiguous().numpy(), digest_size=16).digest() for image in images]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        rows = {key: row for row, key in enumerate(keys) if key not in found}
        if rows:
            new = face_features(self._model, images[list(rows.values())], self._device)
            for number, key in enumerate(rows):
                # A copy: a part would keep the features of all images of the pass.
                found[key] = FaceFeatures(*(part[number : number + 1].clone() for part in new))
                self._keep(key, found[key])
        return FaceFeatures(*(torch.cat(parts) for parts in zip(*(found[key] for key in keys), strict=True)))

    def _keep(self, key: bytes, features: FaceFeatures) -> None:
        size = _bytes_of(features)
        while self._kept and self.bytes + size > self._limit:
            self.bytes -= _bytes_of(self._kept.pop(next(iter(self._kept))))
        if size <= self._limit:
            self._kept[key] = features
            self.bytes += size


def _bytes_of(features: FaceFeatures) -> int:
    return sum(part.nbytes for part in features)
