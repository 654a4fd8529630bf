"""The benchmark of covered faces in a gallery, on faces whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_model import PlainModel, covered, face_of

from benchmarks.gallery_covered import COLUMNS, Outcome, enrol, look_for, row_of, split
from oaml_core.evaluation.covered.faces import KnownFaces
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords

PEOPLE, PICTURES = 8, 3
MODEL: Any = PlainModel()


def known_faces() -> KnownFaces:
    """Faces of which person 0 has none that was photographed uncovered, and person 1 one."""
    people = np.repeat(np.arange(PEOPLE), PICTURES)
    images = np.stack([face_of(person, row) for row, person in enumerate(people)])
    hidden = np.zeros(len(people), np.bool_)
    hidden[:5] = True
    return KnownFaces("drawn", images, people, None, hidden)


def test_one_uncovered_face_of_each_person_is_enrolled_and_the_others_are_probes() -> None:
    enrolled, probes = split(known_faces(), 100)
    assert enrolled.tolist() == [5, *range(6, 24, 3)]
    assert probes.tolist() == [row for row in range(6, 24) if row % 3]
    assert len(split(known_faces(), 4)[1]) == 4


def test_each_way_of_looking_is_counted_by_itself(tmp_path: Path) -> None:
    """Two probes, of which one has another person's embedding: only its visible places say whose it is."""
    with Gallery(tmp_path / "people.gallery", MODEL.version) as gallery:
        enrol(gallery, MODEL.records(np.stack([face_of(one) for one in range(PEOPLE)])), list("abcdefgh"))
        right, hidden = MODEL.records(face_of(4, 7)[None]), MODEL.records(covered(face_of(5, 7))[None])
        wrong = FaceRecords(MODEL.records(face_of(2)[None]).embedding, *hidden[1:])
        probes = FaceRecords(*(np.concatenate(parts) for parts in zip(right[:4], wrong[:4], strict=True)))
        found = look_for(GallerySearch(gallery, MODEL), MODEL, probes, ["e", "f"], exhaustive=True)
        assert found.whole is not None
        flags = (found.alone, found.staged, found.listed, found.whole)
        assert [one.tolist() for one in flags] == [[True, False], [True, True], [True, True], [True, True]]
        assert found.compared == PEOPLE
        short = look_for(GallerySearch(gallery, MODEL, shortlist=1), MODEL, probes, ["e", "h"], exhaustive=False)
        assert (short.listed.tolist(), short.whole) == ([True, False], None)


def test_a_row_has_shares_in_percent_with_intervals_over_people() -> None:
    people = np.repeat(np.arange(40), 5)
    alone, staged = people < 20, people < 30
    every = np.ones(len(people), np.bool_)
    row = row_of("veil", 0.25, Outcome(alone, staged, every, None, 100.0), people)
    assert len(row) == len(COLUMNS)
    assert row[:2] == ["veil", 25.0]
    assert str(row[4]).startswith("+25.0 (+")
    assert row[5:] == ["100.0 (100.0 to 100.0)", 100.0]
    middle, low, high = (float(word.strip("()")) for word in str(row[2]).split() if word != "to")
    assert middle == 50.0
    # A binomial interval of 40 people, not of 200 faces.
    assert high - low == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.25 / 40), abs=4)
