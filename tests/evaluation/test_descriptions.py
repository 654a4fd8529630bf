"""Images described together: by whoever comes first, in runs that depend on no other, with nobody waiting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oaml_core.evaluation.own_faces import descriptions
from oaml_core.evaluation.own_faces.descriptions import Descriptions
from oaml_core.evaluation.scoring import face_store as face_store_module
from oaml_core.evaluation.scoring.face_store import FaceArrays, FaceStore, describe, described, face_store
from oaml_core.evaluation.scoring.shard import EvaluationShard
from oaml_core.evaluation.scoring.shard_parts import ShardParts
from oaml_core.store import open_store

COUNT = 23
FIRST, SECOND = EvaluationShard(0, 2), EvaluationShard(1, 2)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (descriptions, face_store_module):
        monkeypatch.setattr(module, "RUN", 4)


@pytest.fixture
def parts(tmp_path: Path) -> ShardParts:
    return ShardParts(open_store(str(tmp_path / "store")), "faces-0", 2, {"checkpoint": "0"}, "oaml evaluate")


@pytest.fixture
def images(pairs) -> np.ndarray:
    return pairs.images[:COUNT]


class Process:
    """One of the processes: what it described, and what it does before."""

    def __init__(self, model, images: np.ndarray, parts: ShardParts, before: Callable[[slice], None]) -> None:
        self.runs: list[int] = []
        self._before = before
        self._model, self._images = model, images
        self.descriptions = Descriptions(self._describe, [f"{n}.jpg" for n in range(COUNT)], parts, "a device")

    def _describe(self, rows: slice) -> FaceArrays:
        self._before(rows)
        self.runs.append(rows.start // 4)
        return describe(self._model, self._images[rows], "cpu", 6)


def test_a_process_describes_its_share_where_the_others_described_theirs(model, images, parts, tmp_path) -> None:
    def dies_after_its_share(rows: slice) -> None:
        if rows.start < 12:
            raise MemoryError("no memory")

    dying = Process(model, images, parts, dies_after_its_share)
    with face_store(model, COUNT, "cpu", tmp_path) as faces, pytest.raises(MemoryError):
        dying.descriptions.fill(faces, [SECOND])
    assert dying.runs == [3, 4, 5]
    process = Process(model, images, parts, lambda rows: None)
    with face_store(model, COUNT, "cpu", tmp_path) as faces:
        assert process.descriptions.fill(faces, [FIRST]) == {"a device"}
        same_as_alone(faces, model, images, tmp_path)
    assert process.runs == [0, 1, 2]


def test_a_quicker_process_takes_over_and_the_slower_one_does_the_same_no_second_time(
    model, images, parts, tmp_path
) -> None:
    quick = Process(model, images, parts, lambda rows: None)

    def overtaken(rows: slice) -> None:
        with face_store(model, COUNT, "cpu", tmp_path) as others:
            quick.descriptions.fill(others, [SECOND])
            same_as_alone(others, model, images, tmp_path)

    slow = Process(model, images, parts, overtaken)
    with face_store(model, COUNT, "cpu", tmp_path) as faces:
        slow.descriptions.fill(faces, [FIRST])
        same_as_alone(faces, model, images, tmp_path)
    assert quick.runs == [3, 4, 5, 2, 1, 0], "its own in order, then those of the other from the end"
    assert slow.runs == [0]


def same_as_alone(faces: FaceStore, model, images: np.ndarray, folder: Path) -> None:
    rows = slice(0, COUNT)
    with described(model, images, COUNT, "cpu", folder, 6) as alone:
        for found, expected in zip(faces.features(rows), alone.features(rows), strict=True):
            assert found.numpy().tobytes() == expected.numpy().tobytes()
