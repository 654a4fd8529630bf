"""Published weights into a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from oaml_core.errors import CheckpointError
from oaml_core.models.backbone import Backbone

PREFIX = "model."
"""Of the backbone's parameters in a published AdaFace checkpoint."""
FIRST_CONVOLUTION = "input_layer.0.weight"
NAMED = 5
"""Keys that an error lists."""


def load_backbone(backbone: Backbone, path: Path, *, channel_order: Literal["rgb", "bgr"] = "rgb") -> None:
    """Load the weights in `path` into `backbone`, which takes RGB images ever after.

    Args:
        path: `.safetensors`, or a `.pt` / `.ckpt` state dict, whole or below `state_dict`, with or without the
            prefix `model.`. Nothing in it is executed (weights_only).
        channel_order: of the images that the weights were trained on; published AdaFace weights: `bgr`.

    Raises:
        CheckpointError: the file cannot be read; names that are missing or left over.
    """
    weights = _read(path)
    known = backbone.state_dict()
    missing = [name for name in known if name not in weights]
    left_over = [name for name in weights if name not in known]
    if missing or left_over:
        raise CheckpointError(
            f"{path} is not of this backbone: {_listed(missing)} missing, {_listed(left_over)} left over. "
            "Check model.arch."
        )
    if channel_order == "bgr":
        weights[FIRST_CONVOLUTION] = weights[FIRST_CONVOLUTION].flip(1)
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path} has parameters of other sizes than this backbone: {error}") from error


def _read(path: Path) -> dict[str, Tensor]:
    """Backbone parameters by name."""
    if not path.is_file():
        raise CheckpointError(f"There are no weights {path}: correct model.weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each kind of damage raises its own error
        raise CheckpointError(f"{path} cannot be read as weights: {error}") from error
    found: Mapping[str, Any] = content.get("state_dict", content)
    own = {k.removeprefix(PREFIX): v for k, v in found.items() if k.startswith(PREFIX)}
    return own or dict(found)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{len(names)} names ({shown}{', …' if len(names) > NAMED else ''})" if names else "nothing"
