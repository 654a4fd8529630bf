"""Embeddings of published models, for evaluations that train nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from oaml_core.inference.any_onnx import PlainOnnx
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone
from oaml_core.models.pretrained import load_backbone
from oaml_core.models.published_graph import pixels_of

log = logging.getLogger(__name__)

Pixels = Literal["auto", "signed", "unit", "bytes"]
SHOWN = {"signed": "in [-1, 1]", "unit": "in [0, 1]", "bytes": "from 0 to 255"}
Embedder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Faces uint8 [n, S, S, 3] RGB in, unit embeddings [n, E] out, image and mirrored image fused."""


def open_embedder(
    path: Path,
    arch: str,
    *,
    image_size: int = 112,
    width: int = 16,
    channels: Literal["rgb", "bgr"] = "rgb",
    pixels: Pixels = "auto",
    device: str = "cpu",
) -> tuple[Embedder, int]:
    """Open a published file of a recogniser as an embedder.

    Args:
        path: weights of `arch`, or an ONNX graph with one image input and one embedding output.
        arch: name of the backbone; an ONNX graph needs none.
        image_size: side in pixels of the faces that weights are for; an ONNX graph says its own.
        width: of the first stage of `ir_mini`.
        channels: order of the colours that the file was trained on.
        pixels: what a graph takes: [-1, 1], [0, 1], 0 to 255, or what its input and its first layers tell.
        device: where weights run; a graph runs on the CPU.

    Returns:
        What describes faces, and their side in pixels.

    Raises:
        CheckpointError: the weights are not of `arch`. ExportError: the graph is no recogniser.
    """
    if path.suffix.lower() == ".onnx":
        taken = pixels_of(path) if pixels == "auto" else pixels
        model = PlainOnnx(path, channels, taken)
        log.info("%s is given pixels %s, %s.", path.name, SHOWN[taken], channels)
        if len(model.vectors) > 1:
            vectors = ", ".join(model.vectors)
            log.warning("%s gives %s: the widest, %s, is taken for the embedding.", path.name, vectors, model.output)
        return lambda images: model.records(images).embedding, model.image_size
    backbone = build_backbone(arch, image_size=image_size, width=width)
    load_backbone(backbone, path, channel_order=channels)
    return embedder(backbone, device), image_size


def embedder(backbone: Backbone, device: str = "cpu") -> Embedder:
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
