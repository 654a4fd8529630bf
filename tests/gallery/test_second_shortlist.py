"""Who is lost to the embedding of a covered face is found by the vector of what is seen of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oaml_core.errors import DataError
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords, Scores

PEOPLE, SIZE = 60, 32


class TwoVectors:
    """Compares an embedding and a local vector; the local one decides."""

    version, image_size = "two", 112

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        whole = (probe.embedding * gallery.embedding).sum(1, dtype=np.float64)
        local = (probe.local_embedding * gallery.local_embedding).sum(1, dtype=np.float64)
        return Scores(whole, local, local, np.ones(len(local)))


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def described(embedding: np.ndarray, local: np.ndarray) -> FaceRecords:
    count = len(embedding)
    maps = np.ones((count, 1, 2, 2), np.float32), np.zeros((count, 0, 2, 2), np.float32)
    return FaceRecords(embedding, *maps, np.ones(count, np.float32), local)


@pytest.fixture
def people() -> FaceRecords:
    draws = np.random.default_rng(0)
    return described(*(unit(draws.standard_normal((PEOPLE, SIZE))) for _ in range(2)))


@pytest.fixture
def gallery(tmp_path: Path, people: FaceRecords) -> Iterator[Gallery]:
    with Gallery(tmp_path / "people.gallery", TwoVectors.version) as opened:
        for row in range(PEOPLE):
            one = people.rows(slice(row, row + 1))
            opened.add(f"person {row}", one, source="", digest=str(row))
        yield opened


def probe_of(people: FaceRecords, row: int) -> FaceRecords:
    """A face whose embedding is the opposite of the person's, and whose local vector is theirs."""
    return described(-people.embedding[row : row + 1], people.local_embedding[row : row + 1])


def test_the_shortlist_of_local_vectors_finds_whom_the_embedding_puts_last(
    gallery: Gallery, people: FaceRecords
) -> None:
    search = GallerySearch(gallery, TwoVectors(), shortlist=5)  # type: ignore[arg-type]
    for row in (3, 27, 59):
        answer = search.search(probe_of(people, row), top=2)
        assert answer.people[0].face.person == f"person {row}"
        assert answer.people[0].global_score == pytest.approx(-1, abs=1e-5)
        assert answer.compared <= 10


def test_both_shortlists_follow_the_file(gallery: Gallery, people: FaceRecords) -> None:
    search = GallerySearch(gallery, TwoVectors(), shortlist=5)  # type: ignore[arg-type]
    search.prepare()
    before = search.memory
    gallery.remove_person("person 3")
    assert search.search(probe_of(people, 3)).people[0].face.person != "person 3"
    added = described(people.embedding[:1], people.local_embedding[3:4])
    gallery.add("new", added, source="", digest="new")
    answer = search.search(probe_of(people, 3))
    assert (answer.people[0].face.person, answer.faces) == ("new", PEOPLE)
    assert search.memory == before


@pytest.mark.parametrize(
    "damage",
    [
        "detail = substr(detail, 1, 30)",
        "detail = substr(detail, 1, 4)",
        "detail = CAST(substr(detail, 1, 4) || x'ffffffffffff' || substr(detail, 11) AS BLOB)",
        "embedding = substr(embedding, 1, 7)",
        "embedding = substr(embedding, 1, 8)",
        "embedding = x''",
    ],
)
def test_a_record_of_another_length_is_named_and_not_searched(
    gallery: Gallery, people: FaceRecords, damage: str
) -> None:
    with gallery.change() as db:
        db.execute(f"UPDATE records SET {damage} WHERE face = 7")
    search = GallerySearch(gallery, TwoVectors(), shortlist=5)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"gallery.*\n?.*oaml gallery verify"):
        search.search(probe_of(people, 3))
