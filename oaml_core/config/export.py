"""Configuration of the ONNX export and its check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from oaml_core.config.checks import check_shares
from oaml_core.errors import ConfigError


@dataclass(frozen=True)
class ExportConfig:
    """The ONNX model and the check of it."""

    opset: int = 20
    """ONNX operator set."""
    preprocessing: bool = True
    """Take uint8 RGB images [B, H, W, 3] and normalise them in the graph; False: float [B, 3, H, W] in [-1, 1]."""
    check_images: int = 64
    """Real images that torch and ONNX must agree on."""
    tolerance: float = 1e-3
    """Largest absolute difference of embeddings, maps and features that passes."""
    check_pairs: int = 200
    """Verification pairs, spread over the first set, on which every exported model's accuracy is compared with the
    trained one's; at least 20."""
    variants: tuple[Literal["fp16", "int8"], ...] = ()
    """Smaller models written beside `model.onnx`: `fp16`, convolutions and matrix products in half precision; `int8`,
    the same in 8 bits, calibrated on training faces, half of them covered."""
    record_images: int = 300
    """Verification faces, of whole people, that TAR of every variant is recorded on, by every library that is
    installed; 10,000 impostor pairs (about 150 images) are needed for FAR 1e-4."""
    licence: str | None = None
    """Licence of the weights, kept in the model and its card; None: it says that it is that of data and weights."""
    accuracy_loss: float = 0.01
    """Accuracy, as a share in [0, 1], that a variant may lose against the trained model on `check_pairs` pairs."""


def check_export(export: ExportConfig) -> None:
    """Refuse values of `export` that cannot work.

    Raises:
        ConfigError: names the key to change.
    """
    check_shares({"export.accuracy_loss": export.accuracy_loss})
    if export.record_images < 4:
        raise ConfigError(f"export.record_images is {export.record_images}; pairs need at least 4 images.")
    if export.check_pairs < 20:
        raise ConfigError(f"export.check_pairs is {export.check_pairs}; ten folds need at least 20 pairs.")
