"""Write the graph of a recogniser, or of its matcher, as an ONNX file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from oaml_core.config import Config
from oaml_core.errors import ExportError
from oaml_core.export.metadata import local_score_of
from oaml_core.inference.onnx_outputs import outputs_of
from oaml_core.models.features import Features
from oaml_core.models.matcher import Matcher
from oaml_core.models.pooled import PooledAlone
from oaml_core.models.recogniser import Recogniser


class OnnxRecogniser(nn.Module):
    """The recogniser with the outputs that the ONNX model has."""

    def __init__(self, model: Recogniser, preprocessing: bool) -> None:
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` returns."""
        return outputs_of(local_score_of(self.model.matcher))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the `outputs` of uint8 [B, H, W, 3] with preprocessing, else of float [B, 3, H, W] in [-1, 1]."""
        if self.preprocessing:
            images = normalised(images)
        features: Features = self.model(images)
        known = features.embedding, features.norm, features.visibility, local_features(self.model, features)
        if not isinstance(self.model.matcher, PooledAlone):
            return known
        return *known, self.model.matcher.describe(features.feature_map, features.visibility)


class OnnxMatcher(nn.Module):
    """The matcher with the inputs that the second ONNX model has."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self.matcher = matcher

    def forward(self, probe: Tensor, gallery: Tensor, probe_visibility: Tensor, gallery_visibility: Tensor) -> Tensor:
        """Maps [N, C, h, w] and visibility [N, 1, h, w] of N pairs → scores [N]."""
        return self.matcher.match_pairs(probe, gallery, probe_visibility, gallery_visibility)


def local_features(model: Recogniser, features: Features) -> Tensor:
    """Return the maps [B, C, h, w] that the matcher is given: unit vectors, unless their lengths matter to it."""
    return features.feature_map if model.matcher.keeps_lengths else normalize(features.feature_map, dim=1)


def normalised(images: Tensor) -> Tensor:
    """Convert images uint8 [B, H, W, 3] to float [B, 3, H, W] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1.0


@contextmanager
def on_cpu(model: nn.Module) -> Iterator[None]:
    """Keep `model` on the CPU, and put it back on its device afterwards."""
    device = next(model.parameters()).device
    model.cpu()
    try:
        yield
    finally:
        model.to(device)


def write_graph(
    model: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, config: Config
) -> None:
    """Write `model` as an ONNX file with a dynamic batch axis.

    Args:
        model: in evaluation mode, on the CPU.
        inputs: example tensors by name, at least two rows each.
        outputs: their names.
        path: of the file.
        config: `export.opset` holds.

    Raises:
        ExportError: torch cannot translate the model, or writes another operator set. OSError: the file cannot be
            written.
    """
    for converter in ("onnx_ir", "onnxscript"):  # they tell each of their passes
        logging.getLogger(converter).setLevel(logging.WARNING)
    try:
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=config.export.opset,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC} for name in inputs},
            verbose=False,
        )
        assert program is not None  # dynamo=True always returns one
        program.save(str(path), external_data=False)
        written = {entry.domain: entry.version for entry in program.model_proto.opset_import}[""]
    except OSError:  # the disk, and not the graph
        raise
    except Exception as error:  # the exporter raises what the failing operator raises
        raise ExportError(f"The model cannot be exported with export.opset {config.export.opset}: {error}") from error
    if written != config.export.opset:
        raise ExportError(
            f"torch {torch.__version__} exports this model with operator set {written}, not export.opset "
            f"{config.export.opset}; set export.opset to {written}."
        )
