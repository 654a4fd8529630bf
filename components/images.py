"""Container image of each component: by version, or by what was really built. Runs on one machine ignore it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from components.steps import STEPS
from oaml_core.errors import ImageError
from oaml_core.structured_text import parse_json

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


def read_lock(lock: Path) -> dict[str, str]:
    """Return tags by component; empty if nothing was built yet.

    Args:
        lock: file that `make build-images` writes.

    Raises:
        ImageError: it is damaged.
    """
    if not lock.exists():
        return {}
    return parse_json(lock.read_bytes(), str(lock), "Remove it, and run `make build-images`.", ImageError)


@contextmanager
def built_images(lock: Path | None) -> Iterator[None]:
    """Within, `image` gives the tags that `lock` names; None, or a missing file: the version."""
    global _built
    before = _built
    _built = {} if lock is None else read_lock(lock)
    try:
        yield
    finally:
        _built = before
