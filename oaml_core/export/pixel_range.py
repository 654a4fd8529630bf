"""Notice that a published recogniser is given pixels of another range than it expects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from oaml_core.export.global_only import SCALES, Foreign, Pixels, wrap_recogniser
from oaml_core.inference.backends import trial_images
from oaml_core.inference.onnx_model import OamlOnnx

ALIKE = 0.99
"""Least cosine of the embeddings of different pictures from which on a network is taken to see none. A published
MobileFaceNet for pixels of 0 to 255 gives 0.79 to 0.90 with those, and 0.997 to 0.999 with [-1, 1]."""


def doubt_about_pixels(source: Path, model: Path, about: Foreign) -> str:
    """Return a warning if the embeddings of different pictures hardly differ; an empty text if they do.

    Args:
        source: recogniser as it was given.
        model: the same, wrapped for `about.pixels`.
        about: how the network is said to want its pixels.

    Returns:
        A sentence that names the range with which the embeddings differ most, if they differ with any.
    """
    alike = _least_cosine(model)
    if alike < ALIKE:
        return ""
    others: dict[Pixels, float] = {}
    for pixels in SCALES:
        if pixels != about.pixels:
            tried = model.with_name(f"{pixels}.onnx")
            wrap_recogniser(source, tried, replace(about, pixels=pixels))
            others[pixels] = _least_cosine(tried)
    best = min(others, key=others.__getitem__)
    said = f"{about.source}: with --pixels {about.pixels} four different pictures give nearly the same embedding "
    said += f"(cosines from {alike:.3f} on)"
    if others[best] < ALIKE:
        return f"{said}; with --pixels {best} they differ (from {others[best]:.2f} on). Use that."
    return f"{said}, with other ranges too. See what the network's publisher says of its input."


def _least_cosine(model: Path) -> float:
    recogniser = OamlOnnx(model, threads=1)
    embedding = recogniser.records(trial_images(recogniser.image_size)).embedding
    return float(np.min(embedding @ embedding.T))
