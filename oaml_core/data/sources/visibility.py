"""Pairs of a face and its visibility mask: `kept_faces/<name>.jpg` and `masks/<name>_mask.png`, 255 = visible.

The layout is looked for at the top of the source and in `visibility/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from oaml_core.data.sources.base import SourceFolder
from oaml_core.decoding.formats import IMAGE_SUFFIXES

FACES, MASKS, MASK_ENDING = "kept_faces", "masks", "_mask"


class Pair(NamedTuple):
    """File names of one face and its mask."""

    name: str
    face: str
    mask: str


@dataclass(frozen=True)
class VisibilitySource:
    """The faces and masks of a source folder."""

    folder: SourceFolder
    pairs: list[Pair]
    faces_alone: list[str]
    """Faces that have no mask."""
    masks_alone: list[str]
    """Masks that have no face."""


def find_visibility_source(folder: SourceFolder) -> VisibilitySource | None:
    """Return the pairs of a source, matched by name; None if it has neither faces nor masks of this layout."""
    faces: dict[str, str] = {}
    masks: dict[str, str] = {}
    for name in folder.files:
        path = PurePosixPath(name)
        parts = path.parts[1:] if path.parts[0] == "visibility" else path.parts
        if len(parts) < 2 or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        stem = PurePosixPath(*parts[1:]).with_suffix("").as_posix()
        if parts[0] == FACES:
            faces[stem] = name
        elif parts[0] == MASKS:
            masks[stem.removesuffix(MASK_ENDING)] = name
    if not faces and not masks:
        return None
    return VisibilitySource(
        folder,
        [Pair(stem, faces[stem], masks[stem]) for stem in sorted(faces.keys() & masks.keys())],
        sorted(faces[stem] for stem in faces.keys() - masks.keys()),
        sorted(masks[stem] for stem in masks.keys() - faces.keys()),
    )
