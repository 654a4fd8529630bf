"""Whether the faces of one data set in the store look like those of another."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oaml_core.amounts import amount
from oaml_core.array_files import read_arrays
from oaml_core.config import Config
from oaml_core.errors import DataError
from oaml_core.stages.addresses import read_metrics_json
from oaml_core.stages.production import champion
from oaml_core.store import Store, open_store

if TYPE_CHECKING:
    from oaml_core.data.drift.comparison import Drift
    from oaml_core.data.drift.measures import Measured
    from oaml_core.data.drift.sampling import Face

MEASURED = "measured-{count}.npz"
"""What was measured of a data set lies beside its manifest, and goes with it."""
EMBEDDED = 32
"""Faces that a model describes at a time."""


@dataclass(frozen=True)
class Drifted:
    """The difference between two data sets."""

    differences: list[Drift]
    """Differences by measure, the largest difference first."""
    shifted: list[str]
    """Measures whose difference is larger than allowed, beyond chance."""
    summary: str
    """Markdown table."""


def measure_drift(config: Config, fingerprint: str, reference: str, onnx: Path | None = None) -> Drifted:
    """Compare the faces of two prepared data sets in the store.

    Args:
        config: `config.nightly` says how many faces are drawn, and what counts as drift.
        fingerprint: data set to judge.
        reference: data set that it is compared with.
        onnx: exported model, for the norms of embeddings and the visible share of faces; None: pixels and points alone.

    Raises:
        DataError: a data set is damaged, or has too few faces. StoreError: it is not there.
    """
    from oaml_core.data.drift.comparison import LEAST, compare_measures, table

    store, most = open_store(config.store), config.nightly.largest_drift
    one, two = (_measured(store, name, config.nightly.drift_images, onnx) for name in (reference, fingerprint))
    found = compare_measures(one, two, config.seed)
    if not found:
        name, few = min(((reference, one), (fingerprint, two)), key=lambda each: len(each[1]["brightness"]))
        raise DataError(
            f"The data set {name} has {amount(len(few['brightness']), 'face')}, too few to tell drift: {LEAST} are "
            "needed on both sides. Add faces, or set nightly.drift to warn or off."
        )
    return Drifted(found, [each.measure for each in found if each.is_shift(most)], table(found, most))


def data_set_in_production(config: Config) -> str | None:
    """Return the fingerprint of what the model in production was trained on; None if that is not known."""
    present = champion(open_store(config.store))
    if present is None:
        return None
    fingerprint = read_metrics_json(present["metrics_uri"]).get("context", {}).get("dataset_fingerprint")
    return None if fingerprint is None else str(fingerprint)


def _measured(store: Store, fingerprint: str, count: int, onnx: Path | None) -> Measured:
    """Measure a sample of a data set, or read what an earlier night measured of it."""
    from oaml_core.data.drift.measures import measure_faces
    from oaml_core.data.drift.sampling import FaceSample
    from oaml_core.data.prepared.manifest import parse_manifest
    from oaml_core.data.prepared.prepared import DATASETS, manifest_key

    key = f"{DATASETS}/{fingerprint}/{MEASURED.format(count=count)}"
    if onnx is None and store.exists(key):
        return read_arrays(store.read_bytes(key), store.url(key), "Delete it: it is measured again.", DataError)
    manifest = parse_manifest(store.read_bytes(manifest_key(fingerprint)), store.url(manifest_key(fingerprint)))
    faces = FaceSample(store, manifest, count).faces()
    found = measure_faces(faces)
    if onnx is not None:
        return found | _described(faces, onnx)
    content = io.BytesIO()
    np.savez(content, **found)  # type: ignore[arg-type]
    store.write_bytes(key, content.getvalue())
    return found


def _described(faces: Sequence[Face], onnx: Path) -> Measured:
    """Describe faces by a model: length of the embedding, and visible share."""
    from oaml_core.inference.onnx_model import OamlOnnx

    model = OamlOnnx(onnx)
    norms, visible = [], []
    for first in range(0, len(faces), EMBEDDED):
        described = model.embed(np.stack([image for image, _ in faces[first : first + EMBEDDED]]))
        norms.append(described.norm[:, 0])
        visible.append(described.visibility.mean(axis=(1, 2, 3)))
    return {"norm": np.concatenate(norms).astype(float), "visible share": np.concatenate(visible).astype(float)}
