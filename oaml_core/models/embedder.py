"""A backbone's embeddings of faces, as evaluations of published models take them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from oaml_core.models.backbone import Backbone


def embedder(backbone: Backbone, device: str = "cpu") -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Make a function from faces to embeddings, image and mirrored image fused by their norms (AdaFace).

    Args:
        backbone: with weights; it is moved to `device`, and put into evaluation mode.
        device: where it runs.

    Returns:
        A function from uint8 [n, S, S, 3] RGB to float32 [n, E] of unit length.
    """
    backbone.to(device).eval()

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            faces = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found = backbone(torch.cat([faces, faces.flip(-1)]))
            raw = found.embedding.float() * found.norm.float()
            one, other = raw.chunk(2)
            return np.asarray(normalize(one + other, dim=1).cpu().numpy(), dtype=np.float32)

    return embed
