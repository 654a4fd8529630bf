"""Faces of unknown people beside the training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oaml_core.config import Config, DataConfig
from oaml_core.data.sources.inputs import open_folders, open_inputs
from oaml_core.errors import DataError


def folder(path: Path, people: dict[str, int]) -> Path:
    generator = np.random.default_rng(len(people))
    for name, count in people.items():
        (path / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(generator.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(
                path / name / f"{number}.png"
            )
    return path


def opened(tmp_path: Path, **settings: object):
    config = Config(data=DataConfig(**settings), work_dir=str(tmp_path / "work"))  # type: ignore[arg-type]
    return open_inputs(config, open_folders(config.data, tmp_path / "scratch"))


def test_each_unlabelled_face_is_a_person_of_its_own_and_none_is_verified(tmp_path: Path) -> None:
    known = folder(tmp_path / "known", {f"person{k}": 3 for k in range(20)})
    others = folder(tmp_path / "others", {"anybody": 4, "somebody": 1})

    alone = opened(tmp_path, source=str(known))
    both = opened(tmp_path, source=str(known), unlabelled_source=str(others))

    assert len(both.selected) == len(alone.selected) + 5
    np.testing.assert_array_equal(both.selected[:-5], alone.selected)
    np.testing.assert_array_equal(both.held_out, alone.held_out)
    added = both.selected[-5:]
    labels = both.training.labels[added]
    assert len(set(labels.tolist())) == 5
    assert labels.min() > alone.training.labels.max()
    names = {both.training.name(int(number)) for number in added}
    assert names == {f"unlabelled/anybody/{k}.png" for k in range(4)} | {"unlabelled/somebody/0.png"}
    assert {both.training.identity_name(int(label)) for label in labels} == names
    assert [both.training.read(int(number)) for number in added] == [
        (others / both.training.name(int(number)).removeprefix("unlabelled/")).read_bytes() for number in added
    ]
    assert any("adds 5 faces" in note for note in both.notes)


def test_landmarks_of_one_source_alone_are_kept(tmp_path: Path) -> None:
    known = folder(tmp_path / "known", {f"person{k}": 3 for k in range(20)})
    others = folder(tmp_path / "others", {"anybody": 1})
    points = [[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]
    (others / "train_meta.json").write_text(f'{{"landmarks_by_path": {{"anybody/0.png": {points}}}}}')

    landmarks = opened(tmp_path, source=str(known), unlabelled_source=str(others)).training.landmarks

    assert landmarks is not None
    assert np.isnan(landmarks[:-1]).all()
    np.testing.assert_array_equal(landmarks[-1], points)


def test_unlabelled_faces_without_known_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.unlabelled_source is given without data\.source"):
        opened(tmp_path, unlabelled_source=str(tmp_path))
