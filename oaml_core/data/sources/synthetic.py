"""Drawn faces as a source like any other: what demos and tests train on where there is no data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config, DataConfig
from oaml_core.data.sources.base import Ints, TrainingSource
from oaml_core.data.sources.verification import FOLDS
from oaml_core.data.sources.verification_source import VerificationSource
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import DataError

NAME = "synthetic"
"""Name of the verification set of drawn faces."""
TRAINING, VERIFICATION = 0, 1
"""Streams of random numbers below the run's seed."""


class SyntheticSource(TrainingSource):
    """Drawn faces: `synthetic_images_per_identity` of each of `synthetic_identities` people.

    The encoded images are held in memory: about 7 kB each.
    """

    kind = "synthetic"

    def __init__(self, data: DataConfig, seed: int) -> None:
        self.seed = seed
        self.identities = data.synthetic_identities
        self.labels = np.repeat(np.arange(data.synthetic_identities), data.synthetic_images_per_identity)

    @cached_property
    def _faces(self) -> tuple[list[bytes], NDArray[np.float32]]:
        return _draw(self.identities, self.labels, np.random.default_rng([self.seed, TRAINING]))

    @property
    def landmarks(self) -> NDArray[np.float32]:  # type: ignore[override]
        """Landmarks float32 [N, 5, 2] in pixels."""
        return self._faces[1]

    def read(self, index: int) -> bytes:
        return self._faces[0][index]

    def name(self, index: int) -> str:
        return f"drawn face {index}"

    def identity_name(self, label: int) -> str:
        return f"drawn-{label:05d}"

    def find(self, wanted: Sequence[str]) -> Ints:
        raise DataError("data.subset chooses among images on a disk; drawn faces are chosen by data.synthetic_*.")


def synthetic_pairs(config: Config) -> VerificationSource:
    """Return pairs of drawn faces of identities that are not trained on: ten folds, each half genuine, half impostor.

    Folds share no identity.
    """
    count = config.data.synthetic_pairs
    fold = count // FOLDS
    issame = np.tile(np.repeat([True, False], fold // 2), FOLDS)
    generator = np.random.default_rng([config.seed, VERIFICATION])
    first = np.arange(count)
    second = np.where(issame, first, first - fold // 2)  # an impostor is the identity of a genuine pair of its fold
    which = np.stack([first, second], axis=1).ravel()
    drawn: list[tuple[list[bytes], NDArray[np.float32]]] = []

    def faces() -> tuple[list[bytes], NDArray[np.float32]]:
        if not drawn:
            drawn.append(_draw(count, which, generator))
        return drawn[0]

    def images() -> Iterator[bytes]:
        yield from faces()[0]

    return VerificationSource(NAME, "drawn faces", issame, lambda: faces()[1], images, which)


def drawing_code() -> str:
    """Return the source text of what draws the faces: a change of it changes what is drawn."""
    from oaml_core.data.sources import drawn_people, synthetic_faces

    return inspect.getsource(drawn_people) + inspect.getsource(synthetic_faces)


def _draw(identities: int, which: Ints, generator: np.random.Generator) -> tuple[list[bytes], NDArray[np.float32]]:
    from oaml_core.data.sources.drawn_people import draw_identities
    from oaml_core.data.sources.synthetic_faces import draw_faces

    people = draw_identities(identities, generator)
    encoded: list[bytes] = []
    landmarks = np.empty((len(which), 5, 2), dtype=np.float32)
    for start in range(0, len(which), 256):
        faces = draw_faces(people, which[start : start + 256], generator)
        encoded += [encode_jpeg(image) for image in faces.images]
        landmarks[start : start + 256] = faces.landmarks
    return encoded, landmarks
