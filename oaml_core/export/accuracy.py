"""TAR of an exported model by every library that can run it, clean and covered, kept in the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.prepared.verification import VerificationSet
from oaml_core.errors import ExportError
from oaml_core.evaluation.covered.cover import Cover
from oaml_core.evaluation.covered.faces import KnownFaces, faces_of
from oaml_core.evaluation.statistics.roc import roc, tar_at_far
from oaml_core.evaluation.statistics.seed import SEED
from oaml_core.export.metadata import store_metadata
from oaml_core.inference.backends import Backend, has_openvino
from oaml_core.inference.model_files import matcher_path
from oaml_core.inference.onnx_model import OamlOnnx

RATES = (1e-3, 1e-4)
COVERS = ("surgical", "sunglasses", "scarf", "hand")
"""Drawn, of the test artwork, on the covered version of the faces in turn."""


@dataclass(frozen=True)
class RecordFaces:
    """The faces and pairs that every file is measured on."""

    name: str
    """Name of the verification set."""
    clean: NDArray[np.uint8]
    """[n, H, W, 3] RGB, different images."""
    covered: NDArray[np.uint8]
    """[n, H, W, 3], the same faces under `COVERS`."""
    people: NDArray[np.int64]
    """[n]"""


def record_faces(pairs: VerificationSet, config: Config) -> RecordFaces:
    """Return about `config.export.record_images` faces of whole people, and their covered versions.

    Args:
        pairs: verification set.
        config: of the run.
    """
    faces = faces_of(pairs)
    sizes = np.bincount(faces.people)
    order = np.random.default_rng(SEED).permutation(len(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), config.export.record_images)) + 1
    rows = np.flatnonzero(np.isin(faces.people, order[:enough]))
    chosen = faces.rows(rows)
    return RecordFaces(chosen.name, chosen.images, _covered(chosen), chosen.people)


def record_accuracy(path: Path, faces: RecordFaces) -> dict[str, Any]:
    """Measure an exported model by every library that is installed, and keep the record in its metadata.

    Clean: all pairs of different images. Covered: every covered image with every other image uncovered. The score is
    the global one, image and mirrored image fused, as `oaml match` computes it.

    Args:
        path: `model.onnx` or a variant of it; its file changes.
        faces: from `record_faces`.

    Returns:
        The record: `set`, `images`, `people`, `covers`, and per library under `by`: TAR per condition and rate
        (None: too few impostor pairs), or `refused`, why the library does not run it.
    """
    found: dict[str, Any] = {
        "set": faces.name,
        "images": len(faces.clean),
        "people": len(np.unique(faces.people)),
        "covers": list(COVERS),
        "by": {},
    }
    libraries: list[Backend] = ["onnxruntime", "openvino"] if has_openvino() else ["onnxruntime"]
    metadata: dict[str, Any] = {}
    for library in libraries:
        try:
            model = OamlOnnx(path, matcher=matcher_path(path), backend=library)
        except ExportError as error:
            found["by"][library] = {"refused": str(error)}
            continue
        metadata = model.metadata
        found["by"][model.runtime.name] = tar_of(model, faces)
    store_metadata(path, metadata | {"tar": found})
    return found


def tar_of(model: OamlOnnx, faces: RecordFaces) -> dict[str, dict[str, float | None]]:
    """Return TAR per condition and false accept rate; None: too few impostor pairs.

    Args:
        model: exported recogniser.
        faces: what it is measured on.
    """
    clean, covered = model.records(faces.clean).embedding, model.records(faces.covered).embedding
    same = faces.people[:, None] == faces.people
    upper, other = np.triu(np.ones_like(same), 1), ~np.eye(len(same), dtype=bool)
    return {
        condition: {
            f"{point.far:g}": point.tar for point in tar_at_far(roc((one @ clean.T)[pairs], same[pairs]), RATES)
        }
        for condition, one, pairs in (("clean", clean, upper), ("covered", covered, other))
    }


def _covered(faces: KnownFaces) -> NDArray[np.uint8]:
    """Return every face under one of `COVERS`, in turn."""
    images = np.empty_like(faces.images)
    for number, kind in enumerate(COVERS):
        rows = np.arange(number, len(images), len(COVERS))
        if not rows.size:
            continue
        images[rows] = Cover(kind, kind).apply(faces.rows(rows))[0]
    return images
