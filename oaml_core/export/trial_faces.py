"""Drawn faces that travel with a model, with its own answers in float32: no photograph of anybody does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from oaml_core.data.augment.occlusion import draw_occluder
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.errors import ExportError
from oaml_core.export.metadata import store_metadata
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.inference.trial import KEY, write_trial

SEED = 20_012
"""Seed of people whom no training draws."""
COVERS = ("surgical", "sunglasses", "scarf", "hand")
"""Drawn cover of every second face, in turn."""
STEP = 8
"""Faces have every so many-th grey level: half as many bytes travel, and they are faces all the same."""


def trial_faces(size: int) -> NDArray[np.uint8]:
    """Return two faces for each of `COVERS`, the second one under it; the same at every call.

    Args:
        size: side in pixels.

    Returns:
        uint8 [n, size, size, 3] RGB.
    """
    generator = np.random.default_rng(SEED)
    count = 2 * len(COVERS)
    drawn = draw_faces(draw_identities(count, generator), np.arange(count), generator).images
    found = []
    for number, face in enumerate(drawn):
        image = np.asarray(Image.fromarray(face).resize((size, size), Image.Resampling.LANCZOS))
        if number % 2:
            planes = torch.from_numpy(image.transpose(2, 0, 1).copy())
            covered, _ = draw_occluder(planes, None, COVERS[number // 2], torch.Generator().manual_seed(number))
            image = covered.permute(1, 2, 0).numpy()
        found.append(image // STEP * STEP + STEP // 2)
    return np.stack(found).astype(np.uint8)


def store_trial(path: Path) -> None:
    """Put trial faces, and the outputs that onnxruntime computes of them, into the file of a model.

    Args:
        path: `model.onnx` in float32, with its metadata; variants that are made of it carry the same.

    Raises:
        ExportError: an output of them is not finite.
    """
    model = OamlOnnx(path)
    images = trial_faces(model.image_size)
    outputs = dict(zip(model.outputs, model.embed(images), strict=False))
    strange = [name for name, one in outputs.items() if not np.isfinite(one).all()]
    if strange:
        raise ExportError(
            f"The {strange[0]} of a drawn face is NaN or infinite: the model has diverged, or its weights are damaged."
        )
    store_metadata(path, model.metadata, {KEY: write_trial(images, outputs)})
