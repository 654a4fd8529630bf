"""Weights of an ONNX graph into a backbone of the same layers.

Names in exported graphs follow the exporter, so layers are matched by order: the n-th convolution, batch
normalisation, PReLU or linear layer of the graph is the n-th that the backbone computes. Exporters fold a batch
normalisation into the convolution or linear layer before it; it is then taken over as one that only adds the bias.
Nothing but equal results shows that the order was right, so whole backbones are compared with the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from oaml_core.amounts import amount
from oaml_core.errors import CheckpointError
from oaml_core.models.backbone import Backbone
from oaml_core.models.depthwise import DepthwiseConv2d
from oaml_core.models.modes import evaluating
from oaml_core.models.published_graph import Scaling, constants_of, read_graph, scaling_of
from oaml_core.onnx_session import open_session

PARAMETERS = {
    "Conv": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
    "PRelu": ("weight",),
    "Gemm": ("weight", "bias"),
}
"""What the inputs after the first one of an ONNX operator are, in torch's names."""
OPERATORS: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv",
    DepthwiseConv2d: "Conv",
    nn.BatchNorm2d: "BatchNormalization",
    nn.BatchNorm1d: "BatchNormalization",
    nn.PReLU: "PRelu",
    nn.Linear: "Gemm",
}
FOLDED = "folded"
"""Marks, among the parameters that are read, a batch normalisation that the graph has inside another layer."""
RESHAPES = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
"""Operators that change no value."""
REMEDY = "Set model.arch to the backbone that it is of, or take the file as it is: `oaml model add`."
SAME = 0.999
"""Cosine of embeddings of the same image above which graph and backbone compute the same."""
GREY = 127.5
"""Pixel value, of 0 … 255, that becomes 0; ours is `pixel / GREY - 1`."""


def read_onnx(backbone: nn.Module, path: Path) -> dict[str, Tensor]:
    """Parameters of the graph in `path` under the names of `backbone`, for images in [-1, 1].

    A normalisation of pixels (0 … 255) at the graph's start, `(pixel - 127.5) · scale`, is folded into the first
    convolution.

    Raises:
        CheckpointError: the file is no ONNX graph, or its layers are not those of `backbone`.
    """
    graph = read_graph(path)
    constants = constants_of(graph)
    layers = _computed(backbone)
    nodes = [node for node in graph.node if node.op_type in PARAMETERS]
    weights: dict[str, Tensor] = {}
    left, sources = list(nodes), _sources(graph)
    before: tuple[str, nn.Module, Any] | None = None
    for name, module in layers:
        if before is not None and _is_folded(module, before, left, sources):
            is_taken = before[1].bias is None
            weights |= _bias_alone(name, module, weights.pop(f"{before[0]}.bias") if is_taken else None)
            before = None
            continue
        if not left:
            break
        node = left.pop(0)
        if node.op_type != OPERATORS[type(module)]:
            raise CheckpointError(
                f"{path} is not of this backbone: its layer {node.output[0]} ({node.op_type}) stands where the "
                f"backbone has {name} ({OPERATORS[type(module)]}). {REMEDY}"
            )
        _check_epsilon(path, name, module, node)
        weights |= {f"{name}.{what}": value for what, value in _parameters(path, node, constants).items()}
        before = name, module, node
    folded = sum(f"{name}.{FOLDED}" in weights for name, _ in layers)
    if len(layers) - folded != len(nodes):
        raise CheckpointError(
            f"{path} is not of this backbone: it has {amount(len(nodes), 'layer')} with weights, the backbone "
            f"{len(layers)}{f', {folded} of them folded into others' if folded else ''}. {REMEDY}"
        )
    weights = {name: value for name, value in weights.items() if not name.endswith(f".{FOLDED}")}
    first = f"{layers[0][0]}.weight"
    weights[first] = weights[first] * (GREY * _scale(path, scaling_of(path, graph, constants)))
    return weights


def check_same_output(backbone: Backbone, path: Path) -> None:
    """Compare the embeddings of a backbone with those of the graph that its weights come from.

    Args:
        backbone: with the weights of `path`, for images in the channel order of the graph.
        path: of the graph.

    Raises:
        CheckpointError: the graph cannot be run on a single image, or the embeddings have another direction.
    """
    from oaml_core.inference.any_onnx import unread_inputs

    graph = read_graph(path)
    normalises = scaling_of(path, graph, constants_of(graph)) is not None
    side = backbone.image_size
    pixels = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(0)).float()
    given = pixels if normalises else pixels / GREY - 1
    try:
        session = open_session(path)
        values = {session.get_inputs()[0].name: given.numpy()} | unread_inputs(session, path)
        theirs = torch.from_numpy(session.run(None, values)[0])
    except Exception as error:  # onnxruntime's own exception types share no base below Exception
        raise CheckpointError(f"{path} cannot be run on a face of {side}×{side}: {error}") from error
    with torch.no_grad(), evaluating(backbone):
        ours = backbone((pixels / GREY - 1).to(next(backbone.parameters()).device)).embedding.cpu()
    same = theirs.shape == ours.shape and float(nn.functional.cosine_similarity(theirs, ours)) > SAME
    if not same:
        raise CheckpointError(
            f"{path} has the layers of this backbone, but joins them otherwise: the same image gives another "
            f"embedding. {REMEDY}"
        )


def _computed(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers with weights in the order in which they compute."""
    layers = [(name, module) for name, module in backbone.named_modules() if type(module) in OPERATORS]
    if not isinstance(backbone, Backbone):
        return layers
    order: list[tuple[str, nn.Module]] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, layer=(name, module): order.append(layer))
        for name, module in layers
    ]
    try:
        with torch.no_grad(), evaluating(backbone):
            backbone(next(backbone.parameters()).new_zeros(1, 3, backbone.image_size, backbone.image_size))
    finally:
        for handle in handles:
            handle.remove()
    return order


def _sources(graph: Any) -> dict[str, str]:
    """What each value is, apart from its shape."""
    found: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in RESHAPES:
            found[node.output[0]] = found.get(node.input[0], node.input[0])
    return found


def _is_folded(
    module: nn.Module, before: tuple[str, nn.Module, Any], left: list[Any], sources: Mapping[str, str]
) -> bool:
    """Return True if the exporter folded this batch normalisation into the layer before it, which then has a bias."""
    _, layer, node = before
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) or not isinstance(layer, nn.Conv2d | nn.Linear):
        return False
    if len(node.input) < 3:
        return False
    if not left or left[0].op_type != "BatchNormalization":
        return True
    # The next block's normalisation is no part of this layer: it sees a sum.
    return bool(sources.get(left[0].input[0], left[0].input[0]) != node.output[0])


def _bias_alone(name: str, module: nn.Module, bias: Tensor | None) -> dict[str, Tensor]:
    """Parameters of a batch normalisation that adds `bias` and changes nothing else."""
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    width = module.num_features
    found = {
        "bias": torch.zeros(width) if bias is None else bias,
        "weight": torch.ones(width),
        "running_mean": torch.zeros(width),
        "running_var": torch.full((width,), 1 - module.eps),
        FOLDED: torch.ones(()),
    }
    return {f"{name}.{what}": value for what, value in found.items()}


def _parameters(path: Path, node: Any, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a layer of the graph, by torch's names."""
    if lacking := [source for source in node.input[1:] if source and source not in constants]:
        raise CheckpointError(f"{path} computes {lacking[0]}, a weight of {node.output[0]}: only constants are read.")
    flags = {one.name: one.i for one in node.attribute}
    found = {
        what: constants[source]
        for what, source in zip(PARAMETERS[node.op_type], node.input[1:], strict=False)
        if source
    }
    if node.op_type == "PRelu":
        found["weight"] = found["weight"].flatten()
    if node.op_type == "Gemm" and not flags.get("transB"):
        found["weight"] = found["weight"].T.contiguous()
    return found


def _scale(path: Path, scaling: Scaling | None) -> float:
    """Factor b of the normalisation `(pixel - 127.5) · b` before the first convolution; 1 / 127.5 if there is none.

    Another grey cannot be folded in: the convolution pads with the zeros that come after it.
    """
    if scaling is None:
        return 1 / GREY
    if not math.isclose(scaling.zero, GREY) or not scaling.uniform:
        about = f"{scaling.zero:g}, not {GREY}" if scaling.uniform else "another value for each colour"
        raise CheckpointError(
            f"{path} takes pixels about {about}: such weights cannot be taken over exactly. Take the file as it is: "
            "`oaml model add`."
        )
    return scaling.factor


def _check_epsilon(path: Path, name: str, module: nn.Module, node: Any) -> None:
    """The constant that batch normalisation adds to the variance is no parameter, but must agree."""
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return
    theirs = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), 1e-5)
    if not math.isclose(theirs, module.eps, rel_tol=1e-5):
        raise CheckpointError(
            f"{path} has epsilon {theirs:g} in {node.output[0]}, the backbone {module.eps:g} in {name}."
        )
