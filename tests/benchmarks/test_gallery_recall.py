"""The search in two stages beside comparing every face, on faces whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_model import PlainModel, face_of

from benchmarks.gallery_covered import enrol
from benchmarks.gallery_recall import COLUMNS, Agreement, compare, needed, place_of, read_everything, row_of
from benchmarks.told_cover import filled, places_of
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords

MODEL: Any = PlainModel()
PEOPLE = 30


def test_a_search_that_misses_whom_comparing_all_names_is_counted(tmp_path: Path) -> None:
    """The second probe has another person's embedding, so that a list of one holds the wrong face."""
    with Gallery(tmp_path / "people.gallery", MODEL.version) as gallery:
        enrol(gallery, MODEL.records(np.stack([face_of(one) for one in range(PEOPLE)])), [*map(str, range(PEOPLE))])
        right, hidden = MODEL.records(face_of(4, 7)[None]), MODEL.records(face_of(5, 7)[None])
        wrong = FaceRecords(MODEL.records(face_of(2)[None]).embedding, *hidden[1:])
        probes = FaceRecords(*(np.concatenate(parts) for parts in zip(right[:4], wrong[:4], strict=True)))
        everything = read_everything(gallery)
        assert everything.people == [*map(str, range(PEOPLE))]
        short = compare(GallerySearch(gallery, MODEL, shortlist=1), everything, probes)
        assert short.same.tolist() == [True, False]
        assert short.compared.tolist() == [1, 1]
        assert short.embedding_rank[0] == 1 < short.embedding_rank[1]
        assert short.better_rank.tolist() == short.embedding_rank.tolist()
        length = int(short.embedding_rank[1])
        assert compare(GallerySearch(gallery, MODEL, shortlist=length), everything, probes).same.all()


def test_the_length_that_is_needed_holds_all_but_one_in_a_thousand() -> None:
    ranks = np.ones(2000, np.int64)
    ranks[:3] = 50, 90, 70
    assert needed(ranks) == 50
    assert needed(ranks[:900]) == 90


def test_the_place_of_a_face_is_counted_from_one() -> None:
    vectors = np.eye(4, dtype=np.float32)
    probe = np.array([0.1, 0.4, 0.3, 0.2], np.float32)
    assert [place_of(face, probe, vectors) for face in range(4)] == [4, 1, 2, 3]


def test_a_row_has_the_share_with_an_interval_over_people() -> None:
    people = np.repeat(np.arange(50), 4)
    same = people != 7
    found = Agreement(same, np.arange(200) + 1, np.ones(200, np.int64), np.full(200, 120))
    row = row_of("veil", found, people)
    assert len(row) == len(COLUMNS)
    assert row[:2] == ["veil", 200]
    assert str(row[2]).startswith("98.00 (9")
    assert row[3:] == [200, 1, 120.0]


def test_covered_places_hold_the_mean_of_the_visible_ones() -> None:
    visible = np.ones((1, 112, 112), np.float32)
    visible[:, 56:] = 0
    places = places_of(visible, 7)
    assert places[0, 0, :, 3].tolist() == pytest.approx([1, 1, 1, 0.5, 0, 0, 0])
    features = np.random.default_rng(0).standard_normal((1, 3, 7, 7)).astype(np.float32)
    made = filled(features, places)
    assert np.array_equal(made[:, :, :3], features[:, :, :3])
    assert made[0, :, 5, 2] == pytest.approx((features * places)[0].sum((1, 2)) / places.sum(), abs=1e-5)
    assert np.array_equal(filled(features, np.ones_like(places)), features)
