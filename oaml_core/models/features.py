"""What a recogniser says about a batch of faces."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Features(NamedTuple):
    """Global and local description of B faces."""

    feature_map: Tensor
    """[B, C, h, w], not normalised: what is compared place by place."""
    embedding: Tensor
    """[B, E], unit length."""
    norm: Tensor
    """[B, 1], length of the embedding before normalisation: a measure of image quality (AdaFace, section 3.2)."""
    visibility: Tensor
    """[B, 1, h, w] in [0, 1]: 1 = the place shows a face, 0 = it is occluded. A fine map has more places than the
    feature map."""
