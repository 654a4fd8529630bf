"""Unlabelled faces behind the training images of a source: each is a person of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oaml_core.data.sources.base import Ints, TrainingSource


class WithUnlabelled(TrainingSource):
    """The images of a source, then those of another one whose identities count for nothing.

    Args:
        known: training images of known people; their numbers and labels stay what they are.
        unlabelled: faces of anybody else.
    """

    def __init__(self, known: TrainingSource, unlabelled: TrainingSource) -> None:
        self.known, self.unlabelled = known, unlabelled
        self.kind = known.kind
        self.readers = min(known.readers, unlabelled.readers)
        self.people = int(known.labels.max(initial=-1)) + 1
        self.labels = np.concatenate([known.labels, self.people + np.arange(len(unlabelled), dtype=np.int64)])
        self.notes = (*known.notes, *unlabelled.notes)
        self.damaged = (*known.damaged, *((_apart(name), why) for name, why in unlabelled.damaged))
        self.mend = "; ".join(dict.fromkeys(one.mend for one in (known, unlabelled) if one.damaged))
        parts = [
            np.full((len(one), 5, 2), np.nan, dtype=np.float32) if one.landmarks is None else one.landmarks
            for one in (known, unlabelled)
        ]
        self.landmarks = (
            np.concatenate(parts) if known.landmarks is not None or unlabelled.landmarks is not None else None
        )

    def read(self, index: int) -> bytes:
        beyond = index - len(self.known)
        return self.known.read(index) if beyond < 0 else self.unlabelled.read(beyond)

    def name(self, index: int) -> str:
        beyond = index - len(self.known)
        return self.known.name(index) if beyond < 0 else _apart(self.unlabelled.name(beyond))

    def identity_name(self, label: int) -> str:
        beyond = label - self.people
        return self.known.identity_name(label) if beyond < 0 else _apart(self.unlabelled.name(beyond))

    def find(self, wanted: Sequence[str]) -> Ints:
        return self.known.find(wanted)


def _apart(name: str) -> str:
    return f"unlabelled/{name}"
