"""Names of people in a gallery: which are taken, how they are listed, and how two spellings meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from plain_model import PlainModel, face_of

from oaml_core.errors import DataError
from oaml_core.inference.gallery.copies import import_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.enrol import enrol_folder
from oaml_core.photos.faces import FaceFinder

MODEL = PlainModel()
RECORDS = MODEL.records(face_of(1)[None])


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        yield opened


def add(gallery: Gallery, name: str, digest: str = "") -> None:
    gallery.add(name, RECORDS, source="", digest=digest)


@pytest.mark.parametrize(
    "name", ["山田\u3000太郎", "امیر\u200cحسین", "Anne\u00a0Marie", "क्\u200dष", "O'Neil 😀", "../%", "x" * 200]
)
def test_names_of_any_script_are_taken(gallery: Gallery, name: str) -> None:
    add(gallery, name)
    assert [person.name for person in gallery.people()] == [name]
    assert gallery.remove_person(f" {name} ") == 1


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 201, "a\nb", "a\0", "\u202eevil", "a\u200bb", "Ann\u200c", "a\u200db", "\udcff", "\u3164"]
)
def test_names_that_cannot_be_seen_are_refused(gallery: Gallery, name: str) -> None:
    with pytest.raises(DataError, match="1 to 200 characters that can be seen"):
        add(gallery, name)


def test_a_name_whose_bytes_were_no_text_is_refused(gallery: Gallery) -> None:
    with pytest.raises(DataError, match="Send the name in UTF-8"):
        add(gallery, "M\ufffdller")


def test_a_folder_whose_name_is_none_is_left_out_and_the_others_are_enrolled(gallery: Gallery, tmp_path: Path) -> None:
    for number, name in enumerate(("Ann", "a\u200bb", "Bob")):
        (tmp_path / "faces" / name).mkdir(parents=True)
        Image.fromarray(face_of(number)).save(tmp_path / "faces" / name / "1.png")
    done = enrol_folder(gallery, MODEL, FaceFinder(aligned=True), tmp_path / "faces")
    assert (done.added, len(done.left_out)) == (2, 1)
    assert "no name of a person" in str(done)


def test_people_are_listed_as_in_a_telephone_book(gallery: Gallery) -> None:
    for name in ("Zoe", "adam", "Änne", "Anna", "Émile", "Eva"):
        add(gallery, name)
    assert [person.name for person in gallery.people()] == ["adam", "Anna", "Änne", "Émile", "Eva", "Zoe"]


def test_an_import_adds_to_the_person_that_it_spells_otherwise(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, "Änne", "1")
    with Gallery(tmp_path / "other.gallery", gallery.model) as other:
        add(other, "Bea", "2")
        with other.change() as db:  # as an earlier version wrote it
            db.execute("UPDATE people SET name = ?", ("A\u0308nne",))
    assert import_gallery(gallery, tmp_path / "other.gallery") == (1, 0)
    assert [(person.name, person.faces) for person in gallery.people()] == [("Änne", 2)]
