"""Outputs of an exported recogniser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from oaml_core.inference.records import UNKNOWN, Floats

OUTPUTS = ("embedding", "norm", "visibility", "local_features")
LOCAL_EMBEDDING = "local_embedding"
"""Further output of models whose matcher makes one vector of a face."""


class OnnxFeatures(NamedTuple):
    """The model's outputs for n faces."""

    embedding: Floats
    """[n, E], unit length."""
    norm: Floats
    """[n, 1], length before normalisation; low for faces that are hard to recognise."""
    visibility: Floats
    """[n, 1, h, w], in [0, 1], 1 = visible."""
    local_features: Floats
    """[n, C, h, w], unit length over C unless lengths matter to the matcher."""
    local_embedding: Floats = UNKNOWN
    """[n, E], unit length; empty: the model has no such output."""


def outputs_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of a model's outputs, by its metadata."""
    return (*OUTPUTS, LOCAL_EMBEDDING) if metadata.get("local_score") else OUTPUTS
