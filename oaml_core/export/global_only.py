"""A published recogniser as a model of ours: global score alone, every place taken for visible."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oaml_core import __version__
from oaml_core.errors import ExportError
from oaml_core.export.trial_faces import store_trial
from oaml_core.inference.graph_shapes import image_layout, square_side, widest_vector
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.onnx_outputs import OUTPUTS
from oaml_core.whole_file import written_whole

Pixels = Literal["signed", "unit", "bytes"]
SCALES: dict[Pixels, tuple[float, float]] = {"signed": (127.5, 1 / 127.5), "unit": (0.0, 1 / 255), "bytes": (0.0, 1.0)}
"""(offset, factor): the network is given (pixel − offset) · factor, in [-1, 1], [0, 1] or [0, 255]."""
GRID = 7
"""Side of the visibility map that says 1 everywhere."""
PREFIX = "oaml_"
TOLERANCE = 1e-3
"""Largest difference between an embedding computed alone and in a batch."""


@dataclass(frozen=True)
class Foreign:
    """Facts that the network's own file does not say."""

    licence: str
    pixels: Pixels = "signed"
    channel_order: Literal["rgb", "bgr"] = "rgb"
    source: str = ""


def wrap_recogniser(source: Path, path: Path, about: Foreign, thresholds: Mapping[str, float] | None = None) -> None:
    """Write a recogniser with one embedding as an exported model with all outputs of `OamlOnnx`.

    Pixels are scaled and embeddings normalised inside the graph. With e the embedding: `embedding` = e / |e|,
    `norm` = |e|, `visibility` = 1 and `local_features` = 0 everywhere.

    Args:
        source: ONNX graph with one input [N, 3, S, S] or [N, S, S, 3] and embeddings [N, E], also with axes of 1 behind
            them; of several outputs the widest one. N may be fixed to 1.
        path: of the model to write; it appears by rename.
        about: licence, and how the network wants its pixels.
        thresholds: on the cosine, by false accept rate; None: the model gives scores and no decision.

    Raises:
        ExportError: the file is no such graph, cannot be run, or its results depend on the batch.
    """
    import onnx

    try:
        model = onnx.load(str(source))
    except Exception as error:  # onnx raises protobuf's own errors
        raise ExportError(f"{source} is not an ONNX model: {error}") from error
    model = _without_our_names(model)
    size = _add_nodes(model, source, about)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        for faces in (None, 1):
            metadata = _metadata(size, model, about, thresholds, faces)
            onnx.helper.set_model_props(model, {"oaml": json.dumps(metadata)})
            onnx.save(model, str(partial))
            if _takes_batches(partial, size, source, last=faces is not None):
                break
        store_trial(partial)


def _add_nodes(model: Any, source: Path, about: Foreign) -> int:
    """Put our inputs and outputs around the graph; returns the side of the input in pixels."""
    from onnx import TensorProto, helper

    graph = model.graph
    given, size, planes, kind = _input(graph, source)
    embedding, width = _output(graph, source)
    offset, factor = SCALES[about.pixels]
    order = [0, 1, 2] if about.channel_order == "rgb" else [2, 1, 0]
    values = {
        "offset": np.float32(offset),
        "factor": np.float32(factor),
        "order": np.array(order, np.int64),
        "ones": np.ones((width, 1), np.float32),
        "shape": np.array([-1, 1, 1, 1], np.int64),
        "zero": np.zeros((1, 1, GRID, GRID), np.float32),
        "one": np.float32(1),
    }
    graph.initializer.extend(_named(values))
    p = PREFIX
    before = [
        helper.make_node("Cast", ["images"], [f"{p}float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{p}float", f"{p}order"], [f"{p}ordered"], axis=3),
        helper.make_node("Sub", [f"{p}ordered", f"{p}offset"], [f"{p}centred"]),
        helper.make_node("Mul", [f"{p}centred", f"{p}factor"], [f"{p}scaled"]),
        helper.make_node("Transpose", [f"{p}scaled"], [f"{p}planes"], perm=[0, 3, 1, 2] if planes else [0, 1, 2, 3]),
        helper.make_node("Cast", [f"{p}planes"], [given], to=kind),
    ]
    after = [
        helper.make_node("Cast", [embedding], [f"{p}exact"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", [f"{p}exact"], [f"{p}flat"], axis=1),
        helper.make_node("LpNormalization", [f"{p}flat"], ["embedding"], axis=1, p=2),
        helper.make_node("Mul", [f"{p}flat", "embedding"], [f"{p}product"]),
        helper.make_node("MatMul", [f"{p}product", f"{p}ones"], ["norm"]),
        helper.make_node("Reshape", ["norm", f"{p}shape"], [f"{p}reshaped"]),
        helper.make_node("Mul", [f"{p}reshaped", f"{p}zero"], ["local_features"]),
        helper.make_node("Add", ["local_features", f"{p}one"], ["visibility"]),
    ]
    nodes = [*before, *graph.node, *after]
    read = {name for node in nodes for name in node.input}
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]  # shapes inside may state a batch of 1
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", size, size, 3]))
    shapes = {"embedding": [width], "norm": [1], "visibility": [1, GRID, GRID], "local_features": [1, GRID, GRID]}
    for name in OUTPUTS:
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shapes[name]]))
    return size


def _input(graph: Any, source: Path) -> tuple[str, int, bool, int]:
    """Return name, side in pixels, whether colours are planes, and element type of the one image that a graph takes."""
    inputs = _given(graph)
    taken = inputs[0].type.tensor_type if inputs else None
    shape = [axis.dim_value for axis in taken.shape.dim] if taken is not None and len(inputs) == 1 else []
    layout = image_layout(shape)
    side = None if layout is None else square_side(layout[1])
    if taken is None or layout is None or side is None:
        raise ExportError(
            f"{source} has inputs {[one.name for one in inputs]}, the first {shape}; one [N, 3, S, S] or [N, S, S, 3] "
            "is needed."
        )
    return inputs[0].name, side, layout[0], int(taken.elem_type)


def _output(graph: Any, source: Path) -> tuple[str, int]:
    """Return name and width of the embedding: the widest output of one vector per face."""
    shapes = {one.name: [axis.dim_value for axis in one.type.tensor_type.shape.dim] for one in graph.output}
    found = widest_vector(shapes)
    if found is None:
        raise ExportError(f"{source} gives {shapes}; embeddings [N, E] are needed.")
    return found[0], int(found[1])


def _without_our_names(model: Any) -> Any:
    """Return a model none of whose values is named as ours are: many graphs call their input `images`."""
    from onnx import compose

    graph = model.graph
    values = [*graph.input, *graph.output, *graph.initializer]
    names = {one.name for one in values} | {name for node in graph.node for name in (*node.input, *node.output)}
    ours = {"images", *OUTPUTS}
    return (
        compose.add_prefix(model, "their_") if any(name in ours or name.startswith(PREFIX) for name in names) else model
    )


def _given(graph: Any) -> list[Any]:
    """Return the inputs that a caller has to give.

    Some tools list weights among the inputs, also those that the graph now computes from others, or no longer reads.
    """
    known = {initialiser.name for initialiser in graph.initializer} | {
        name for node in graph.node for name in node.output
    }
    read = {name for node in graph.node for name in node.input}
    return [one for one in graph.input if one.name in read - known]


def _named(values: Mapping[str, Any]) -> list[Any]:
    from onnx import numpy_helper

    return [numpy_helper.from_array(np.asarray(value), f"{PREFIX}{name}") for name, value in values.items()]


def _metadata(
    size: int, model: Any, about: Foreign, thresholds: Mapping[str, float] | None, faces: int | None
) -> dict[str, Any]:
    return {
        **({} if faces is None else {"faces_at_once": faces}),
        "oaml_version": __version__,
        "image_size": size,
        "preprocessing": True,
        "opset": max(one.version for one in model.opset_import),
        "arch": "global embedding only",
        "source": about.source,
        "headline": {},
        "thresholds": {} if thresholds is None else {"global": dict(thresholds)},
        "combined": None,
        "licence": about.licence,
    }


def _takes_batches(path: Path, size: int, source: Path, *, last: bool) -> bool:
    """Return True if the model describes three faces as it does one; False if its graph is made for one at a time.

    Args:
        path: of the model.
        size: side of its input in pixels.
        source: what messages name.
        last: refuse a model that fails instead of returning False.

    Raises:
        ExportError: it cannot be loaded, fails, or describes faces otherwise in a batch than alone.
    """
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    try:
        model = OamlOnnx(path, threads=1)
        alone = np.concatenate([model.embed(image).embedding for image in images])
    except Exception as error:  # onnxruntime's own exception types share no base below Exception
        raise ExportError(f"{source} cannot be run: {error}") from error
    if not np.isfinite(alone).all():
        raise ExportError(f"{source} gives embeddings that are NaN or infinite: its weights are damaged.")
    try:
        together = model.embed(images).embedding
    except Exception as error:
        if last:
            raise ExportError(f"{source} does not take faces one after the other: {error}") from error
        return False
    if together.shape != alone.shape:
        return False
    difference = float(np.abs(together - alone).max())
    if not difference <= TOLERANCE:
        raise ExportError(f"{source} gives other embeddings in a batch than alone: they differ by {difference:.3g}.")
    return True


def global_card(name: str, metadata: Mapping[str, Any], measured: str) -> str:
    """Return the model card, in Markdown, of a recogniser that was added.

    Args:
        name: of the model.
        metadata: stored in it.
        measured: what is known of its accuracy; empty: nothing.
    """
    rows = metadata["thresholds"].get("global", {})
    decides = [f"| {rate} | {value:.4f} |" for rate, value in rows.items()]
    table = ["| false accept rate | threshold on the cosine |", "|---|---|", *decides]
    return "\n".join(
        [
            f"# {name}: a published recogniser, global score only",
            "",
            f"| Licence of the weights | {metadata['licence']} |",
            "|---|---|",
            f"| Source | {metadata['source']} |",
            f"| Input | `images`, uint8 RGB [B, {metadata['image_size']}, {metadata['image_size']}, 3] |",
            f"| ONNX operator set | {metadata['opset']} |",
            "",
            measured or "It was not evaluated here.",
            "",
            *(table if decides else ["No threshold was measured; the model gives scores and no decision."]),
            "",
            "It has no local matcher, and takes every place of a face for visible: cover is not accounted for.",
            "",
        ]
    )
