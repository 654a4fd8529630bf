"""A gallery's file that is damaged in places: a change of it is made, or refused by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from plain_model import PlainModel, face_of

from oaml_core.errors import DataError
from oaml_core.inference.gallery.database import Gallery

MODEL = PlainModel()
CHANGES: dict[str, Callable[[Gallery], object]] = {
    "add": lambda gallery: gallery.add("new", MODEL.records(face_of(99)[None]), source="", digest="new"),
    "remove": lambda gallery: gallery.remove_person("p1"),
    "rename": lambda gallery: gallery.rename("p1", "p one"),
    "merge": lambda gallery: gallery.merge("p1", "p2"),
    "move": lambda gallery: gallery.move_face(2, "p3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_a_file_with_a_damaged_page_names_the_file(tmp_path: Path, change: str) -> None:
    path = tmp_path / "people.gallery"
    with Gallery(path, MODEL.version) as gallery:
        for person in range(20):
            gallery.add(f"p{person}", MODEL.records(face_of(person)[None]), source="", digest=str(person))
    with closing(sqlite3.connect(path)) as db:
        size = db.execute("PRAGMA page_size").fetchone()[0]
        roots = [row[0] for row in db.execute("SELECT rootpage FROM sqlite_master WHERE rootpage > 1")]
    whole, refused = path.read_bytes(), list[DataError]()
    for root in roots:
        path.write_bytes(whole[: (root - 1) * size] + b"\xee" * size + whole[root * size :])
        try:
            with Gallery(path, MODEL.version) as gallery:
                CHANGES[change](gallery)
        except DataError as error:
            refused.append(error)
        assert not list(tmp_path.glob("*-journal"))
    assert len(refused) > 1
    for error in refused:
        assert str(path) in str(error)
        assert str(path) not in error.for_callers


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (lambda whole: whole[:5000], "Bring it back from an export"),
        (lambda whole: b"a text that is no gallery " * 99, "Name a file that"),
        (lambda whole: whole[:68] + bytes(4) + whole[72:], "Name a file that"),
    ],
    ids=["cut off", "text", "of another program"],
)
def test_a_file_that_cannot_be_opened_is_told_with_its_remedy(
    tmp_path: Path, content: Callable[[bytes], bytes], remedy: str
) -> None:
    path = tmp_path / "people.gallery"
    Gallery(path, MODEL.version).close()
    path.write_bytes(content(path.read_bytes()))
    with pytest.raises(DataError, match="cannot be opened as a gallery") as refusal:
        Gallery(path)
    assert remedy in str(refusal.value)
    assert remedy not in refusal.value.for_callers


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that nobody can write")
def test_a_folder_that_cannot_be_written_is_told_with_its_remedy() -> None:
    with pytest.raises(DataError, match="must be writable"):
        Gallery("/proc/people.gallery", MODEL.version)
