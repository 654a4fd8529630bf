"""Drawn faces: the same from the same generator, people told apart, landmarks where the face is."""

from __future__ import annotations

import numpy as np

from oaml_core.data.augment.occlusion import TEMPLATE
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.synthetic_faces import draw_faces


def test_the_same_generator_draws_the_same_faces() -> None:
    drawn = []
    for _ in range(2):
        generator = np.random.default_rng(3)
        drawn.append(draw_faces(draw_identities(4, generator), np.array([0, 1, 1, 3]), generator))
    np.testing.assert_array_equal(drawn[0].images, drawn[1].images)
    np.testing.assert_array_equal(drawn[0].landmarks, drawn[1].landmarks)


def test_images_and_landmarks_are_those_of_aligned_faces() -> None:
    generator = np.random.default_rng(0)
    faces = draw_faces(draw_identities(50, generator), np.arange(50), generator)
    assert faces.images.shape == (50, 112, 112, 3)
    assert faces.images.dtype == np.uint8
    assert faces.landmarks.shape == (50, 5, 2)
    assert np.abs(faces.landmarks.mean(0) - TEMPLATE).max() < 4
    assert np.abs(faces.landmarks - TEMPLATE).max() < 25


def test_eyes_are_where_the_landmarks_say() -> None:
    """A pupil is darker than the white beside it, in nearly every picture."""
    generator = np.random.default_rng(1)
    faces = draw_faces(draw_identities(60, generator), np.arange(60), generator)
    darker = []
    for image, points in zip(faces.images, faces.landmarks, strict=True):
        for x, y in points[:2].round().astype(int):
            patch = image[y - 2 : y + 3, x - 7 : x + 8].mean((0, 2))
            darker.append(patch[5:10].min() < max(patch[:3].max(), patch[-3:].max()))
    assert np.mean(darker) > 0.85


def test_pixels_alone_do_not_tell_people_apart() -> None:
    """Else a model would learn nothing that matters: light, pose and background must hide much of the identity."""
    generator = np.random.default_rng(2)
    people = draw_identities(200, generator)
    first, second = (draw_faces(people, np.arange(200), generator).images.reshape(200, -1).astype(float) for _ in "12")
    first, second = ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in (first, second))
    genuine, impostor = (first * second).mean(1), (first * np.roll(second, 1, 0)).mean(1)
    scores, same = np.concatenate([genuine, impostor]), np.repeat([True, False], 200)
    best = max(np.mean((scores > cut) == same) for cut in scores)
    assert 0.5 < best < 0.85
