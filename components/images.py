"""Container image of each component: by version, or by what was really built. Runs on one machine ignore it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

REGISTRY = "oaml"
TAG = "0.1.0"
LOCK = Path(__file__).parents[1] / "images" / "images.lock.json"
"""Tags of the images that `make build-images` has built, by component."""

_built: Mapping[str, str] = {}


def image(component: str, registry: str = REGISTRY) -> str:
    """Reference of the image that `component` runs in."""
    return f"{registry}/{component}:{_built.get(component, TAG)}"


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
