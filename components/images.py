"""Container image of each component: by version, or by what was really built. Runs on one machine ignore it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.steps import STEPS

REGISTRY = "oaml"
TAG = "0.1.0"
LOCK = Path(__file__).parents[1] / "images" / "images.lock.json"
"""Tags of the images that `make build-images` has built, by component."""

WITH_CUDA = "train"
"""The one image whose torch can use a GPU; it has what all steps that may get one need."""

_built: Mapping[str, str] = {}


def image(component: str, registry: str = REGISTRY) -> str:
    """Return reference of the image that `component` runs in."""
    return f"{registry}/{component}:{_built.get(component, TAG)}"


def image_of_step(step: str, registry: str = REGISTRY, gpus: int = 0) -> str:
    """Return reference of the image that the pipeline's step `step` runs in when it gets `gpus` GPUs."""
    return image(WITH_CUDA if gpus else STEPS[step].image, registry)


@contextmanager
def built_images(lock: Path | None) -> Iterator[None]:
    """Within, `image` gives the tags that `lock` names; None, or a missing file: the version."""
    global _built
    before = _built
    _built = json.loads(lock.read_text()) if lock is not None and lock.exists() else {}
    try:
        yield
    finally:
        _built = before
