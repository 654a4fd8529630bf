"""More of a gallery is compared with a covered face by a model that has maps and no local vector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from oaml_core.inference.gallery import search as searching
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords, Scores

PEOPLE, SIZE, CHANNELS = 400, 16, 4


class Maps:
    """Compares maps place by place where both are visible; that score decides."""

    version, image_size = "maps", 112

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        whole = (probe.embedding * gallery.embedding).sum(1, dtype=np.float64)
        seen = probe.visibility * gallery.visibility
        local = -(((probe.local_features - gallery.local_features) ** 2) * seen).sum((1, 2, 3), dtype=np.float64)
        return Scores(whole, local, local, seen.mean((1, 2, 3), dtype=np.float64))


def described(count: int, channels: int = CHANNELS) -> FaceRecords:
    draws = np.random.default_rng(0)
    rows = draws.standard_normal((count, SIZE))
    embedding = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    maps = draws.standard_normal((count, channels, 2, 2)).astype(np.float32)
    return FaceRecords(embedding, np.ones((count, 1, 2, 2), np.float32), maps, np.ones(count, np.float32))


def enrolled(path: Path, people: FaceRecords) -> Gallery:
    gallery = Gallery(path, Maps.version)
    for row in range(PEOPLE):
        gallery.add(f"person {row}", people.rows(slice(row, row + 1)), source="", digest=str(row))
    return gallery


@pytest.fixture
def people() -> FaceRecords:
    return described(PEOPLE)


@pytest.fixture
def gallery(tmp_path: Path, people: FaceRecords) -> Iterator[Gallery]:
    with enrolled(tmp_path / "people.gallery", people) as opened:
        yield opened


def veiled(people: FaceRecords, row: int, place: int, visible: float) -> FaceRecords:
    """A picture of a person that shows so much, by whose embedding they come at this place."""
    order = np.argsort(-people.embedding @ people.embedding[row])
    middle = people.embedding[order[place]]
    towards = np.linspace(0, 1, 200)[:, None] * people.embedding[row] + np.linspace(1, 0, 200)[:, None] * middle
    ranks = ((towards @ people.embedding.T) > (towards @ people.embedding[row])[:, None]).sum(1)
    chosen = towards[np.abs(ranks - place).argmin()]
    one = people.rows(slice(row, row + 1))
    return one._replace(
        embedding=(chosen / np.linalg.norm(chosen))[None].astype(np.float32),
        visibility=np.full((1, 1, 2, 2), visible, np.float32),
    )


def test_who_is_far_down_the_list_of_a_covered_face_is_found(gallery: Gallery, people: FaceRecords) -> None:
    search, lost = GallerySearch(gallery, Maps(), shortlist=2), 0  # type: ignore[arg-type]
    for row in (3, 27, 59):
        probe = veiled(people, row, place=30, visible=0.2)
        place = int((people.embedding @ probe.embedding[0] > people.embedding[row] @ probe.embedding[0]).sum())
        lost += place >= 2 * searching.LONGEST
        assert search.search(probe).people[0].face.person == f"person {row}"
    assert lost, "nobody was beyond the list of before"


@pytest.mark.parametrize(("visible", "share"), [(1.0, 0.0), (0.5, 0.25), (0.0, 1.0)])
def test_the_list_follows_what_is_covered(
    gallery: Gallery, people: FaceRecords, monkeypatch: pytest.MonkeyPatch, visible: float, share: float
) -> None:
    search = GallerySearch(gallery, Maps(), shortlist=2)  # type: ignore[arg-type]
    probe = people.rows(slice(1))._replace(visibility=np.full((1, 1, 2, 2), visible, np.float32))
    least = round(2 * (1 + (searching.LONGEST - 1) * (1 - visible)))
    assert search.search(probe, top=1).compared == max(least, round(searching.ALONE * share * PEOPLE))
    monkeypatch.setattr(searching, "MOST_ALONE", 5)
    assert search.search(probe, top=1).compared == max(least, min(5, round(searching.ALONE * share * PEOPLE)))


def test_a_model_without_maps_has_the_list_of_embeddings_as_it_was(tmp_path: Path) -> None:
    people = described(PEOPLE, channels=0)
    with enrolled(tmp_path / "plain.gallery", people) as gallery:
        probe = people.rows(slice(1))._replace(visibility=np.zeros((1, 1, 2, 2), np.float32))
        search = GallerySearch(gallery, Maps(), shortlist=2)  # type: ignore[arg-type]
        assert search.search(probe, top=1).compared == 2 * searching.LONGEST
