"""Images to templates, one image at a time: no more than the templates themselves is held.

As published (InsightFace's `eval_ijbc.py`, N1D1F1): an image counts with the length of its embedding and with its
detector's score, image and mirrored image are summed, images of one medium are averaged, media are summed, and the sum
is brought to unit length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oaml_core.decoding.files import read_image
from oaml_core.errors import EvaluationError
from oaml_core.evaluation.templates.lists import TemplateLists
from oaml_core.evaluation.templates.rosters import Floats
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.face_files import load_face
from oaml_core.photos.alignment import similarity, template
from oaml_core.progress import progress

BATCH = 64
READERS = 4


class DescribedRows(NamedTuple):
    """Embeddings of images that follow each other in the list."""

    first: int
    """Row of the first one."""
    embedding: Floats
    """[n, E], unit length."""
    norm: Floats
    """[n], length of the embedding before normalisation; empty: not known."""


def describe(model: Comparer, lists: TemplateLists, rows: slice | None = None) -> Iterator[DescribedRows]:
    """Describe images, and yield their embeddings by the batch.

    Args:
        model: describes faces.
        lists: of the images.
        rows: of the list, from a multiple of `BATCH`; None: all.

    Raises:
        ModelInputError: an image is damaged, or not aligned although there are no points.
    """
    chosen = slice(0, len(lists.names)) if rows is None else rows
    batches = math.ceil((chosen.stop - chosen.start) / BATCH)
    with ThreadPoolExecutor(READERS) as readers:
        for number, faces in enumerate(progress(_faces(lists, model, readers, chosen), batches, "batches of faces")):
            found = model.records(faces)
            yield DescribedRows(chosen.start + number * BATCH, found.embedding, found.norm)


def pool(lists: TemplateLists, described: Iterable[DescribedRows]) -> Floats:
    """Return unit embeddings of the templates, float32 [T, E].

    Args:
        lists: which image belongs to which template.
        described: all images, in the order of the list; how many come at a time does not matter.

    Raises:
        EvaluationError: a template's embedding is zero or not finite.
    """
    share = _shares(lists)
    if lists.detection is not None:
        share = share * lists.detection
    sums: NDArray[np.float64] | None = None
    for some in described:
        rows = slice(some.first, some.first + len(some.embedding))
        raw = some.embedding.astype(np.float64)
        if some.norm.size:
            raw *= some.norm[:, None]
        if sums is None:
            sums = np.zeros((len(lists.ids), raw.shape[1]))
        np.add.at(sums, lists.template[rows], raw * share[rows, None])
    assert sums is not None
    length = np.linalg.norm(sums, axis=1, keepdims=True)
    if not np.isfinite(length).all() or not length.all():
        wrong = int(lists.ids[np.flatnonzero(~(np.isfinite(length) & (length > 0)).ravel())[0]])
        raise EvaluationError(f"Template {wrong} has an embedding that is zero or not finite; is the model damaged?")
    return np.asarray(sums / length, dtype=np.float32)


def _shares(lists: TemplateLists) -> NDArray[np.float64]:
    """[n], 1 / images that an image's medium has in its template."""
    _, group, count = np.unique(
        np.stack([lists.template, lists.medium], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return np.asarray(1.0 / count[group.ravel()])


def _faces(
    lists: TemplateLists, model: Comparer, readers: ThreadPoolExecutor, rows: slice
) -> Iterator[NDArray[np.uint8]]:
    """Yield batches uint8 [b, S, S, 3]; the next one is read while the model has the one before."""
    size = model.image_size

    def read(row: int) -> NDArray[np.uint8]:
        path = lists.images / lists.names[row]
        if lists.points is None:
            return load_face(path, size)
        return align_as_published(read_image(path), lists.points[row], size)

    def begin(start: int) -> Iterator[NDArray[np.uint8]]:
        return readers.map(read, range(start, min(start + BATCH, rows.stop)))

    waiting = begin(rows.start)
    for start in range(rows.start, rows.stop, BATCH):
        batch, waiting = waiting, begin(start + BATCH)
        yield np.stack(list(batch))


def align_as_published(image: NDArray[np.uint8], points: Floats, size: int) -> NDArray[np.uint8]:
    """Return an aligned face: least squares over the five points, bilinear, black outside, as published.

    Args:
        image: uint8 [H, W, 3] RGB.
        points: [5, 2] in its pixels.
        size: side of the face.

    Raises:
        ModelInputError: the points lie in one place.
    """
    matrix = similarity(points.astype(np.float64), template(size), np.ones(5))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2]
    # The template names pixel centres, Pillow takes pixel corners: half a pixel apart.
    inverse[:, 2] += 0.5 - inverse[:, :2] @ [0.5, 0.5]
    face = Image.fromarray(image).transform(
        (size, size), Image.Transform.AFFINE, tuple(map(float, inverse.ravel())), Image.Resampling.BILINEAR
    )
    return np.asarray(face, dtype=np.uint8)
