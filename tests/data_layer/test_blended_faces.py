"""Faces of nobody: blends of two training faces, for distillation."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_layer.conftest import face

from oaml_core.config import Config, DataConfig, LossConfig, ModelConfig
from oaml_core.data.batches.blended_faces import BlendedFaces, blend, with_blended
from oaml_core.data.batches.plan import SampleKey
from oaml_core.data.batches.training_faces import training_faces
from oaml_core.data.prepare.prepare import prepare_dataset
from oaml_core.data.prepared.dataset import FaceDataset
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared
from oaml_core.errors import ConfigError, DataError
from oaml_core.store import open_store

BLENDS = 400


@pytest.fixture
def dataset(config: Callable[..., Config], image_folder: Path, tmp_path: Path) -> PreparedDataset:
    """3 people with 3, 4 and 5 images."""
    made = config(image_folder)
    return fetch_prepared(prepare_dataset(made, open_store(made.store)).uri, tmp_path / "prepared")


@pytest.fixture
def faces(dataset: PreparedDataset) -> FaceDataset:
    return dataset.train


def test_blends_come_behind_the_images_and_are_people_of_their_own(faces: FaceDataset) -> None:
    known, people = len(faces), faces.num_identities
    blended = BlendedFaces(faces, BLENDS, seed=0)
    assert len(blended) == known + BLENDS
    assert blended.num_identities == people + BLENDS
    assert np.array_equal(blended.labels[:known], faces.labels)
    assert np.array_equal(blended.labels[known:], people + np.arange(BLENDS))
    for number in range(known):
        assert torch.equal(blended.read(number), faces.read(number))
    assert torch.equal(blended.read_batch([known, 0])[0], blended.read(known))


def parents(blended: BlendedFaces, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The images that each blend is read from, as the files are asked for them."""
    asked: list[int] = []
    read = FaceDataset.read
    monkeypatch.setattr(FaceDataset, "read", lambda self, index: asked.append(index) or read(self, index))
    found = []
    for number in range(blended.known, len(blended)):
        asked.clear()
        blended.read(number)
        found.append(tuple(asked))
    return found


def test_both_people_of_a_blend_differ_and_all_are_drawn_alike(
    faces: FaceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended = BlendedFaces(faces, BLENDS, seed=0)
    labels = np.array([[faces.labels[image] for image in two] for two in parents(blended, monkeypatch)])
    assert labels.shape == (BLENDS, 2)
    assert (labels[:, 0] != labels[:, 1]).all()
    # A third of 800 draws is 267, whether a person has 3 images or 5; five deviations are 67.
    assert np.abs(np.bincount(labels.ravel(), minlength=3) - 2 * BLENDS / 3).max() < 67


def test_a_blend_depends_on_seed_and_number_alone(faces: FaceDataset) -> None:
    blended = BlendedFaces(faces, BLENDS, seed=0)
    again, other = pickle.loads(pickle.dumps(blended)), BlendedFaces(faces, BLENDS, seed=1)
    fewer = BlendedFaces(faces, BLENDS, seed=0)
    numbers = range(len(faces), len(faces) + 12)
    forwards = [blended.read(number) for number in numbers]
    assert all(torch.equal(one, again.read(number)) for one, number in zip(forwards, numbers, strict=True))
    backwards = [fewer.read(number) for number in reversed(numbers)][::-1]
    assert all(torch.equal(one, two) for one, two in zip(forwards, backwards, strict=True))
    assert not all(torch.equal(one, other.read(number)) for one, number in zip(forwards, numbers, strict=True))
    assert len({one.numpy().tobytes() for one in forwards}) == 12


def test_what_a_blend_is_made_of_is_asked_for_at_once_and_part_by_part(
    faces: FaceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    blended, held = BlendedFaces(faces, BLENDS, seed=0), []
    monkeypatch.setattr(blended.files, "hold", lambda places: held.extend(places))
    number = len(faces) + 5
    blended.hold([2, number])
    read = []
    monkeypatch.setattr(
        blended.files, "image", lambda *place, image=blended.files.image: read.append(place) or image(*place)
    )
    blended.read(2)
    blended.read(number)
    assert held == read
    assert blended.parts_of(np.array([[2, number]])).shape == (1, 2)


def known_landmarks(faces: FaceDataset) -> np.ndarray:
    points = np.random.default_rng(0).uniform(20, 90, (len(faces), 5, 2)).astype(np.float32)
    points[:3] = np.nan
    return points


def test_the_landmarks_of_a_blend_lie_between_those_of_both_faces(
    faces: FaceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces.landmarks = known_landmarks(faces)
    blended = BlendedFaces(faces, BLENDS, seed=0)
    assert blended.landmarks is not None
    assert np.array_equal(blended.landmarks[: len(faces)], faces.landmarks, equal_nan=True)
    plain = mirrored = alone = none = 0
    for (one, other), found in zip(parents(blended, monkeypatch), blended.landmarks[len(faces) :], strict=True):
        first, second = faces.landmarks[one], faces.landmarks[other]
        turned = np.stack([111 - second[[1, 0, 2, 4, 3], 0], second[[1, 0, 2, 4, 3], 1]], axis=1)
        if np.isnan(first).any() and np.isnan(second).any():
            none += bool(np.isnan(found).all())
        elif np.isnan(first).any() or np.isnan(second).any():
            candidates = [points for points in (first, second, turned) if not np.isnan(points).any()]
            alone += any(np.allclose(found, points) for points in candidates)
        else:
            plain += np.allclose(found, (first + second) / 2, atol=1e-4)
            mirrored += np.allclose(found, (first + turned) / 2, atol=1e-4)
    assert plain + mirrored + alone + none == BLENDS
    assert min(plain, mirrored, alone) > BLENDS / 10


def test_a_blend_lies_between_both_faces_in_the_colours_of_the_first() -> None:
    first, second = (face(number).transpose(2, 0, 1) for number in (1, 2))
    dark = (second // 2).astype(np.uint8)
    inner = (slice(None), slice(28, 98), slice(28, 84))
    even = halves = 0
    for seed in range(60):
        made = blend(first, dark, np.random.default_rng(seed))
        assert made.dtype == np.uint8
        assert made.shape == first.shape
        brightness = abs(made[inner].mean() - first[inner].mean())
        assert brightness < abs(made[inner].mean() - dark[inner].mean()), "the second face's darkness shows"
        same = blend(first, first, np.random.default_rng(seed))
        assert np.abs(same.astype(int) - first).max() <= 1, "a face blended with itself is that face"
        top, bottom = (
            np.abs(made[:, rows].astype(int) - first[:, rows]).mean() for rows in (slice(20), slice(-20, None))
        )
        halves += min(top, bottom) < 1 < max(top, bottom)
        even += min(top, bottom) > 3
    assert even > 20
    assert halves > 8


def test_a_plain_face_is_blended_too() -> None:
    plain, other = np.full((3, 112, 112), 7, np.uint8), face(3).transpose(2, 0, 1)
    for one, two in ((plain, other), (other, plain), (plain, plain)):
        assert blend(one, two, np.random.default_rng(0)).shape == plain.shape


def distilling(**data: Any) -> Config:
    return Config(
        data=DataConfig(**data),
        loss=LossConfig(adaface_loss_weight=0, distillation_loss_weight=1),
        model=ModelConfig(matcher="pooled"),
    )


def test_training_sees_blends_where_the_configuration_asks(
    dataset: PreparedDataset,
) -> None:
    config = distilling(blended_faces=5)
    assert with_blended(dataset, distilling()) is dataset
    blended = with_blended(dataset, config)
    assert len(blended.train) == len(dataset.train) + 5
    item = training_faces(config, blended)[SampleKey(len(dataset.train) + 4, seed=1)]
    assert item[2] == dataset.train.num_identities + 4


def test_one_person_cannot_be_blended(faces: FaceDataset) -> None:
    faces.labels = np.zeros(len(faces), np.int64)
    with pytest.raises(DataError, match=r"data\.blended_faces.*two people"):
        BlendedFaces(faces, 1, seed=0)


def test_blends_that_nothing_learns_from_or_that_would_be_people_are_refused() -> None:
    config = distilling(blended_faces=5)
    for changed, named in (
        ({"distillation_loss_weight": 0.0}, "loss.distillation_loss_weight"),
        ({"adaface_loss_weight": 0.1}, "loss.adaface_loss_weight"),
        ({"softmax_triplet_loss_weight": 0.1}, "loss.softmax_triplet_loss_weight"),
    ):
        with pytest.raises(ConfigError, match=named):
            replace(config, loss=replace(config.loss, **changed))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data\.blended_faces is -1"):
        distilling(blended_faces=-1)
