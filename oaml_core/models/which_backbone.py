"""Say which backbone weights are of, where they are not of the one that was asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from oaml_core.models.backbone import Backbone
from oaml_core.models.backbone_ir import ARCHITECTURES
from oaml_core.models.build import IMAGE_SIZES, build_backbone
from oaml_core.registry import BACKBONES

_BLOCK = re.compile(r"(?:^|\.)body\.(\d+)\.")
"""Number of a block of an IR network in the name of a parameter."""
COUNTER = ".num_batches_tracked"
"""Name of batch normalisation's counter, which is no weight, and not in every file."""


def whose_weights(weights: Mapping[str, Tensor], wanted: Backbone) -> str:
    """Return the settings that the weights are of, as the remedy of an error message.

    Args:
        weights: parameters by name, of any network.
        wanted: the backbone that they are not of.
    """
    width = next((len(value) for value in weights.values() if value.ndim == 4 and value.shape[1] == 3), 0)
    found: dict[str, int] = {}
    blocks = len({number[1] for name in weights if (number := _BLOCK.search(name))})
    # Building all of them takes ten seconds; those of another depth need not be built.
    likely = [arch for arch in BACKBONES.own if arch not in ARCHITECTURES or sum(ARCHITECTURES[arch].blocks) == blocks]
    for arch, size in product(likely, sorted(IMAGE_SIZES, key=lambda size: size != wanted.image_size)):
        if any(f"model.arch to {arch}" in settings.split(" and ") for settings in found):
            continue
        with torch.device("meta"):
            own = build_backbone(arch, image_size=size, width=max(1, width)).state_dict()
        if _has_all(weights, own):
            settings = [f"model.arch to {arch}", *([f"model.width to {width}"] if arch == "ir_mini" else [])]
            settings += [f"data.image_size to {size}"] if size != wanted.image_size else []
            found[" and ".join(settings)] = len(own)
    if found:
        return f"They are of another one: set {max(found, key=lambda settings: found[settings])}."
    return f"No backbone here has these weights ({', '.join(BACKBONES.own)}); `oaml model add` takes any ONNX file."


def _has_all(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Return True if all parameters of a backbone are among the weights, behind one prefix and in the same shapes."""
    mark = next(iter(own))
    prefixes = [name.removesuffix(mark) for name in weights if name == mark or name.endswith(f".{mark}")]
    return any(
        all(
            (other := weights.get(prefix + name)) is not None and other.shape == value.shape
            for name, value in own.items()
            if not name.endswith(COUNTER)
        )
        for prefix in prefixes
    )
