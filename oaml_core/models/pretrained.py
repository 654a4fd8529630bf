"""Published weights into a backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from oaml_core.errors import CheckpointError
from oaml_core.models.backbone import Backbone
from oaml_core.models.foreign_names import MARKS, PARTS_OF_IRESNET, absorb_affine, from_iresnet, is_iresnet
from oaml_core.models.weights_file import read_weights_file
from oaml_core.models.weights_place import Naming, find_weights
from oaml_core.models.which_backbone import COUNTER, whose_weights

NAMED = 5
"""Keys that an error lists."""


def load_backbone(backbone: Backbone, path: Path | str, *, channel_order: Literal["rgb", "bgr"] = "rgb") -> None:
    """Load the weights in `path` into `backbone`, which takes RGB images in [-1, 1] ever after.

    Args:
        path: `.safetensors`; a `.pt` / `.ckpt` state dict below any keys and behind any prefix
            (`oaml_core.models.weights_place`), by our names or by iresnet's (`oaml_core.models.foreign_names`); or
            `.onnx` with the same layers in the same order (`oaml_core.models.onnx_weights`). Nothing in it is executed
            (`oaml_core.models.weights_file`).
        channel_order: of the images that the weights were trained on; published AdaFace weights: `bgr`.

    Raises:
        CheckpointError: the file cannot be read; names that are missing or left over; parameters of other shapes.
            The backbone is left as it was.
    """
    path = weights_at(path)
    if path.suffix.lower() == ".onnx":
        from oaml_core.models.onnx_weights import read_onnx

        weights = read_onnx(backbone, path)
    else:
        weights = _read(path, backbone.state_dict())
        if is_iresnet(weights):
            weights = from_iresnet(backbone, weights, path)
    absorb_affine(weights, backbone, path)
    known = backbone.state_dict()
    missing = [name for name in known if name not in weights and not name.endswith(COUNTER)]
    left_over = [name for name in weights if name not in known]
    if missing or left_over:
        raise CheckpointError(
            f"{path} is not of this backbone: {_listed(missing)} missing, {_listed(left_over)} left over. "
            f"{whose_weights(weights, backbone)}"
        )
    differing = [
        f"{name} {list(weight.shape)} instead of {list(known[name].shape)}"
        for name, weight in weights.items()
        if weight.shape != known[name].shape
    ]
    if differing:
        raise CheckpointError(
            f"{path} has parameters of other shapes than this backbone: {_listed(differing)}. "
            f"{whose_weights(weights, backbone)}"
        )
    if path.suffix.lower() == ".onnx":
        _check_graph(backbone, known | weights, path)
    if channel_order == "bgr":
        first = first_convolution(backbone)
        weights[first] = weights[first].flip(1)
    backbone.load_state_dict(known | weights)


def weights_at(path: Path | str) -> Path:
    """Return the path of weights; raises CheckpointError if there is no such file."""
    if not Path(path).is_file():
        raise CheckpointError(f"There are no weights {path}: correct model.weights.")
    return Path(path)


def _check_graph(backbone: Backbone, weights: dict[str, Tensor], path: Path) -> None:
    """Refuse weights of a graph that computes something else than a backbone with these weights."""
    from oaml_core.models.onnx_weights import check_same_output

    trial = deepcopy(backbone)
    trial.load_state_dict(weights)
    check_same_output(trial, path)


def first_convolution(backbone: nn.Module) -> str:
    """Name of the weight that sees the colours."""
    return next(f"{name}.weight" for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d))


def _read(path: Path, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Backbone parameters by name: ours, which `known` has, or iresnet's."""
    names = [name for name in known if not name.endswith(COUNTER)]
    ours = Naming(names, {name.partition(".")[0] for name in names})
    own = find_weights(read_weights_file(path), (ours, Naming(MARKS, PARTS_OF_IRESNET)), path)
    if strange := [name for name, value in own.items() if not isinstance(value, Tensor)]:
        raise CheckpointError(f"{path} holds something else than tensors: {_listed(strange)}. Give a state dict.")
    if odd := [name for name, value in own.items() if not _is_plain(value)]:
        raise CheckpointError(
            f"{path} holds sparse, complex or quantised tensors, or such without values: {_listed(odd)}. Give plain "
            "ones in half or full precision."
        )
    if unsound := [name for name, value in own.items() if not _is_sound(name, value)]:
        raise CheckpointError(
            f"{path} holds NaN or infinite weights, or variances below 0: {_listed(unsound)}. Give a sound checkpoint."
        )
    if whole := [name for name, value in own.items() if not value.is_floating_point() and not name.endswith(COUNTER)]:
        raise CheckpointError(
            f"{path} holds whole numbers in place of weights: {_listed(whole)}. Quantised weights lack "
            "their scales here; give those in half or full precision."
        )
    return own


def _is_plain(value: Tensor) -> bool:
    return value.layout is torch.strided and not (value.is_meta or value.is_complex() or value.is_quantized)


def _is_sound(name: str, value: Tensor) -> bool:
    is_negative_variance = name.endswith(".running_var") and bool((value < 0).any())
    return bool(torch.isfinite(value).all()) and not is_negative_variance


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(names[:NAMED])
    return f"{len(names)} names ({shown}{', …' if len(names) > NAMED else ''})" if names else "nothing"
