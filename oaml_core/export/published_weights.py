"""Published weights as an ONNX graph that gives embeddings, for `oaml model add`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from oaml_core.config import Config
from oaml_core.export.onnx_graph import write_graph
from oaml_core.models.backbone import Backbone
from oaml_core.models.build import build_backbone
from oaml_core.models.pretrained import load_backbone


class _Embeddings(nn.Module):
    """A backbone's embeddings at their own length."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return [B, E] of RGB images [B, 3, S, S] in [-1, 1]."""
        found = self.backbone(images)
        embeddings: Tensor = found.embedding * found.norm
        return embeddings


def weights_to_onnx(source: Path, path: Path, config: Config) -> None:
    """Write the backbone that a file of weights belongs to as ONNX: RGB planes in [-1, 1] to embeddings.

    Args:
        source: `.ckpt`, `.pt`, `.pth` or `.safetensors`, see `load_backbone`.
        path: of the graph to write.
        config: `model.arch`, `model.width`, `model.weights_channel_order` and `data.image_size` say what the weights
            are of.

    Raises:
        CheckpointError: the file cannot be read, or is not of that backbone.
        ExportError: the backbone cannot be exported.
    """
    backbone = build_backbone(config.model.arch, image_size=config.data.image_size, width=config.model.width)
    load_backbone(backbone, source, channel_order=config.model.weights_channel_order)
    images = torch.zeros(2, 3, config.data.image_size, config.data.image_size)
    write_graph(_Embeddings(backbone).eval(), {"images": images}, ["embeddings"], path, config)
