"""Notice that a published recogniser is given pixels of another range than it expects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from oaml_core.errors import ExportError
from oaml_core.export.global_only import SCALES, Foreign, Pixels, wrap_recogniser
from oaml_core.inference.backends import trial_images
from oaml_core.inference.comparer import Comparer
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

    def least(word: str) -> float:
        pixels: Pixels = next(one for one in SCALES if one == word)
        if pixels == about.pixels:
            return least_cosine(OamlOnnx(model, threads=1))
        tried = model.with_name(f"{pixels}.onnx")
        wrap_recogniser(source, tried, replace(about, pixels=pixels))
        return least_cosine(OamlOnnx(tried, threads=1))

    return doubt_of(least, tuple(SCALES), about.pixels, about.source, "--pixels ")


def doubt_of(least: Callable[[str], float], ranges: Sequence[str], said: str, name: str, option: str) -> str:
    """Return a warning if the embeddings of different pictures hardly differ; an empty text if they do.

    Args:
        least: returns the least cosine of the trial's embeddings with a range of pixels; raises ExportError where the
            network takes none of that range.
        ranges: all of them, by the user's words.
        said: the one that is used.
        name: of the network.
        option: how the user names a range: text before its word.

    Returns:
        A sentence that names the range with which the embeddings differ most, if they differ with any.
    """
    alike = least(said)
    if alike < ALIKE:
        return ""
    others: dict[str, float] = {}
    for other in ranges:
        if other != said:
            with suppress(ExportError):
                others[other] = least(other)
    sentence = f"{name}: with {option}{said} four different pictures give nearly the same embedding (cosines from "
    sentence += f"{alike:.3f} on)"
    best = min(others, key=others.__getitem__, default=said)
    if others.get(best, 1.0) < ALIKE:
        return f"{sentence}; with {option}{best} they differ (from {others[best]:.2f} on). Use that."
    return f"{sentence}, with other ranges too. See what the network's publisher says of its input."


def least_cosine(recogniser: Comparer) -> float:
    """Return the least cosine of the embeddings of four different pictures; 1: all are the same."""
    embedding = recogniser.records(trial_images(recogniser.image_size)).embedding
    if not embedding.any(1).all():
        return 1.0  # vectors of zeros: the network sees nothing
    return float(np.min(embedding @ embedding.T))
