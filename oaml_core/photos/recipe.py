"""Everything that decides how the face of a photograph is cut out, so that what is kept is kept for one way alone."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from oaml_core.photos import faces, second_look
from oaml_core.photos.alignment import TEMPLATE
from oaml_core.photos.detectors import DEFAULT, check_detector
from oaml_core.photos.yunet import NETWORK

RULES = 4
"""Raised when the same photograph would give another face although nothing below has changed."""


def alignment_recipe(detector: str, size: int) -> dict[str, Any]:
    """Return what decides how a face is cut out, by name.

    Args:
        detector: name or file, see `open_detector`.
        size: side in pixels of the aligned faces.

    Raises:
        ConfigError: there is no detector of that name.
        ModelInputError: there is no such file.
    """
    check_detector(detector)
    network = NETWORK if detector == DEFAULT else Path(detector)
    return {
        "rules": RULES,
        "size": size,
        "detector": _digest(network) if network.is_file() else detector,
        "template": TEMPLATE.tolist(),
        "bounds": [faces.SURE, faces.SURE_AGAIN, faces.DOUBTFUL, faces.ON_TEMPLATE, faces.ENOUGH, faces.SEEN_ALIGNED],
        "second_look": [*second_look.SIZES, second_look.WIDTH, second_look.ROUNDS, second_look.NEAR],
    }


def recipe_digest(detector: str, size: int) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of `alignment_recipe`."""
    text = json.dumps(alignment_recipe(detector, size), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
