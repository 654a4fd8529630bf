"""What a gallery keeps, what it really deletes, and what it answers."""

from __future__ import annotations

import hashlib
import re
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from plain_model import PlainModel, covered, face_of

from oaml_core.errors import DataError
from oaml_core.inference.gallery.copies import export_gallery, import_gallery, verify_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.enrol import enrol_folder
from oaml_core.inference.gallery.rebuild import encode_face, rebuild
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords
from oaml_core.photos.faces import FaceFinder

MODEL = PlainModel()
TESTS = Path(__file__).parents[1]


def records_of(person: int, picture: int = 0) -> FaceRecords:
    return MODEL.records(face_of(person, picture)[None])


def enrol(gallery: Gallery, person: int, picture: int = 0, image: bool = False) -> int:
    face = face_of(person, picture)
    kept = encode_face(face) if image else None
    digest = hashlib.sha256(face.tobytes()).hexdigest()
    key = gallery.add(
        f"person {person}", records_of(person, picture), source=f"{picture}.png", digest=digest, image=kept
    )
    assert key is not None
    return key


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        for person in range(8):
            for picture in range(2):
                enrol(opened, person, picture, image=person < 4)
        yield opened


def test_the_person_is_found_and_each_is_named_once(gallery: Gallery) -> None:
    answer = GallerySearch(gallery, MODEL).search(records_of(5, 7), top=3)
    assert answer.people[0].face.person == "person 5"
    assert len({one.face.person for one in answer.people}) == 3
    assert answer.faces == 16


def test_a_name_of_two_systems_is_one_person(gallery: Gallery, tmp_path: Path) -> None:
    """macOS writes accents decomposed, into folder names and into what is typed there."""
    composed, decomposed = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    for number, name in enumerate((composed, decomposed)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(face_of(70, number)).save(tmp_path / "photos" / name / f"{number}.png")
    enrol_folder(gallery, MODEL, FaceFinder(aligned=True), tmp_path / "photos")
    found = [one for one in gallery.people() if one.name.startswith("Zo")]
    assert [(one.name, one.faces) for one in found] == [(composed, 2)]
    assert len(gallery.faces(person=decomposed)) == 2
    assert gallery.rename(decomposed, "zoe") == 2
    assert gallery.rename("zoe", decomposed) == 2
    assert gallery.remove_person(f" {decomposed}") == 2


def test_a_name_that_an_earlier_version_wrote_decomposed_is_found(gallery: Gallery) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Zo\u00eb") for form in ("NFC", "NFD"))
    with gallery.change() as db:
        db.execute("UPDATE people SET name = ? WHERE name = 'person 3'", (decomposed,))
    assert gallery.add(composed, records_of(3, 9), source="9.png", digest="9") is not None
    assert len(gallery.faces(person=composed)) == 3
    assert gallery.merge(composed, "person 2") == 3


def test_a_covered_face_is_found_by_its_visible_places(gallery: Gallery) -> None:
    """The nearest embedding is another's: only the comparison of visible places puts it right."""
    probe = MODEL.records(covered(face_of(5, 7))[None])
    wrong = FaceRecords(records_of(2).embedding, *probe[1:])
    answer = GallerySearch(gallery, MODEL).search(wrong)
    assert answer.score == "combined"
    assert answer.people[0].face.person == "person 5"
    assert answer.people[0].visible_share == pytest.approx(0.5, abs=0.01)


def test_the_shortlist_grows_with_the_covered_share(gallery: Gallery) -> None:
    search = GallerySearch(gallery, MODEL, shortlist=4)
    seen = search.search(records_of(5, 7), top=1).compared
    hidden = search.search(MODEL.records(covered(face_of(5, 7))[None]), top=1).compared
    assert seen == 4
    assert hidden == 10


def test_changes_of_another_process_are_seen_by_the_next_search(gallery: Gallery) -> None:
    search = GallerySearch(gallery, MODEL)
    search.search(records_of(1))
    with Gallery(gallery.path) as other:
        other.remove_person("person 1")
        enrol(other, 30)
    people = [one.face.person for one in search.search(records_of(1), top=20).people]
    assert "person 1" not in people
    assert search.search(records_of(30, 1)).people[0].face.person == "person 30"


def test_a_deleted_person_is_gone_from_the_file_byte_for_byte(gallery: Gallery) -> None:
    key = enrol(gallery, 77, image=True)
    packed, image = gallery.packed([key])[key], gallery.image(key)
    assert image is not None
    pieces = [
        b"person 77",
        packed.embedding[:64],
        packed.embedding[-64:],
        packed.detail[40:90],
        image[40:140],
        image[-80:-20],
    ]
    before = gallery.path.read_bytes()
    assert all(piece in before for piece in pieces)
    gallery.remove_person("person 77")
    after = b"".join(file.read_bytes() for file in gallery.path.parent.iterdir())
    assert not [piece for piece in pieces if piece in after]
    assert verify_gallery(gallery) == []


def test_deleting_some_of_many_leaves_no_bytes_of_theirs_and_all_of_the_others(tmp_path: Path) -> None:
    with Gallery(tmp_path / "many.gallery", MODEL.version) as gallery:
        keys = [enrol(gallery, person, image=True) for person in range(60)]
        packed = gallery.packed(keys)
        for person in range(0, 60, 2):
            gallery.remove_person(f"person {person}")
        content = gallery.path.read_bytes()
        for person, key in enumerate(keys):
            assert (packed[key].embedding[:48] in content) == bool(person % 2), person
            named = re.search(rb"person %d(?![0-9])" % person, content) is not None
            assert named == bool(person % 2), person
        assert verify_gallery(gallery) == []


def test_a_name_goes_with_the_last_face(gallery: Gallery) -> None:
    keys = list(gallery.faces(person="person 3"))
    gallery.remove_face(keys[0])
    assert "person 3" in [one.name for one in gallery.people()]
    gallery.remove_face(keys[1])
    assert "person 3" not in [one.name for one in gallery.people()]


def test_merge_and_move(gallery: Gallery) -> None:
    assert gallery.merge("person 1", "person 2") == 2
    assert len(gallery.faces(person="person 2")) == 4
    first = next(iter(gallery.faces(person="person 2")))
    gallery.move_face(first, "somebody new")
    assert [face.key for face in gallery.faces(person="somebody new").values()] == [first]
    assert GallerySearch(gallery, MODEL).search(records_of(1)).people[0].face.person in ("person 2", "somebody new")


def test_some_faces_of_a_person_are_split_off(gallery: Gallery) -> None:
    gallery.merge("person 1", "person 2")
    keys = list(gallery.faces(person="person 2"))
    assert gallery.split("person 2", keys[:2], " Änne ") == 2
    assert list(gallery.faces(person="Änne")) == keys[:2]
    assert list(gallery.faces(person="person 2")) == keys[2:]


def test_a_face_is_replaced_by_another_photograph_of_the_person(gallery: Gallery) -> None:
    old, other = gallery.faces(person="person 1")
    gone = gallery.packed([old])[old]
    new = gallery.replace(old, records_of(1, 7), source="7.png", digest="seven")
    assert list(gallery.faces(person="person 1")) == [other, new]
    assert gallery.faces([new])[new].source == "7.png"
    assert gone.embedding not in gallery.path.read_bytes()
    assert gallery.replace(new, records_of(1, 7), source="7.png", digest="seven") > new  # described once more
    gallery.remove_face(other)
    (last,) = gallery.faces(person="person 1")
    gallery.replace(last, records_of(1, 8), source="8.png", digest="eight")
    assert len(gallery.faces(person="person 1")) == 1


def test_a_photograph_that_the_person_has_is_not_put_in_place_of_another(gallery: Gallery) -> None:
    first, second = gallery.faces(person="person 1").values()
    with pytest.raises(DataError, match=f"photograph already; remove face {first.key}"):
        gallery.replace(first.key, records_of(1, 1), source="", digest=second.digest)
    assert list(gallery.faces(person="person 1")) == [first.key, second.key]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.split("nobody", [1], "x"), "nobody"),
        (lambda g: g.split("person 0", [1, 3], "x"), "Face 3 is not one of 'person 0'"),
        (lambda g: g.split("person 0", [1, 2], "x"), "not all"),
        (lambda g: g.split("person 0", [], "x"), "not none"),
        (lambda g: g.split("person 0", [1], "person 1"), "there already"),
        (lambda g: g.split("person 0", [1], " "), "no name"),
        (lambda g: g.replace(999, records_of(1), source="", digest=""), "face 999"),
        (lambda g: g.remove_person("nobody"), "nobody"),
        (lambda g: g.remove_face(999), "face 999"),
        (lambda g: g.merge("person 1", "nobody"), "nobody"),
        (lambda g: g.merge("person 1", "person 1"), "same name"),
        (lambda g: g.move_face(999, "x"), "face 999"),
        (lambda g: g.add("  ", records_of(1), source="", digest=""), "no name"),
        (lambda g: g.add("a\nb", records_of(1), source="", digest=""), "no name"),
    ],
)
def test_a_change_that_cannot_be_made_changes_nothing(gallery: Gallery, change: object, message: str) -> None:
    before = gallery.people(), list(gallery.faces())
    with pytest.raises(DataError, match=message):
        change(gallery)  # type: ignore[operator]
    assert (gallery.people(), list(gallery.faces())) == before


def test_the_same_photograph_counts_once(gallery: Gallery) -> None:
    digest = next(iter(gallery.faces().values())).digest
    assert gallery.add("person 0", records_of(0), source="again", digest=digest) is None
    assert len(gallery.faces(person="person 0")) == 2


def test_other_files_and_other_models_are_refused(gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model first, not of second"):
        Gallery(gallery.path, "second")
    (tmp_path / "text").write_text("no gallery at all, but a text that is long enough to be read as one" * 40)
    with pytest.raises(DataError, match="cannot be opened as a gallery"):
        Gallery(tmp_path / "text", "first")
    with pytest.raises(DataError, match="There is no such gallery"):
        Gallery(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_export_and_import_bring_everything_but_not_twice(gallery: Gallery, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gallery"
    export_gallery(gallery, copy)
    with pytest.raises(DataError, match="there already"):
        export_gallery(gallery, copy)
    with Gallery(tmp_path / "new.gallery", MODEL.version) as new:
        assert import_gallery(new, copy) == (16, 0)
        assert import_gallery(new, copy) == (0, 16)
        assert new.people() == gallery.people()
        key = next(iter(new.faces(person="person 1")))
        assert new.image(key) == encode_face(face_of(1))
        assert verify_gallery(new) == []


def test_damage_is_found_and_not_imported(gallery: Gallery, tmp_path: Path) -> None:
    with gallery.change() as db:
        db.execute("UPDATE records SET detail = zeroblob(length(detail)) WHERE face = 3")
    assert any("face 3" in found for found in verify_gallery(gallery))
    with Gallery(tmp_path / "new.gallery", MODEL.version) as new, pytest.raises(DataError, match="face 3"):
        import_gallery(new, gallery.path)


def test_a_file_that_another_process_holds_is_not_called_damaged(gallery: Gallery) -> None:
    gallery.query("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(gallery.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            verify_gallery(gallery)
    assert verify_gallery(gallery) == []


def test_a_rebuild_needs_all_faces_and_changes_over_at_once(gallery: Gallery) -> None:
    coming = PlainModel("second", turn=5)
    done = rebuild(gallery, coming, "second", None)
    assert (done.described, len(done.left_out), done.switched) == (8, 8, False)
    assert GallerySearch(gallery, MODEL).search(records_of(5, 7)).people[0].face.person == "person 5"
    gallery.remove_person("person 7")
    done = rebuild(gallery, coming, "second", None, forget=True)
    assert (done.described, len(done.left_out), done.switched) == (0, 6, True)
    with Gallery(gallery.path, "second") as new:
        assert [one.name for one in new.people()] == [f"person {person}" for person in range(4)]
        found = GallerySearch(new, coming).search(coming.records(face_of(2, 9)[None]))
        assert found.people[0].face.person == "person 2"
        assert verify_gallery(new) == []


def test_a_search_by_the_old_model_says_that_the_gallery_was_rebuilt(gallery: Gallery) -> None:
    search = GallerySearch(gallery, MODEL)
    search.search(records_of(1))
    with Gallery(gallery.path) as other:
        rebuild(other, PlainModel("second", 5), "second", None, forget=True)
    with pytest.raises(DataError, match="is of model second now"):
        search.search(records_of(1))
    with pytest.raises(DataError, match="is of model second now"):
        enrol(gallery, 50)


def test_a_folder_is_enrolled_and_rebuilt_from_its_photographs(tmp_path: Path) -> None:
    for person in range(3):
        (tmp_path / "faces" / f"p{person}").mkdir(parents=True)
        for picture in range(2):
            Image.fromarray(face_of(person, picture)).save(tmp_path / "faces" / f"p{person}" / f"{picture}.png")
    (tmp_path / "faces" / "broken.jpg").write_bytes(b"no picture")
    finder = FaceFinder(aligned=True)
    with Gallery(tmp_path / "g", MODEL.version) as gallery:
        done = enrol_folder(gallery, MODEL, finder, tmp_path / "faces")
        assert (done.added, done.there, len(done.left_out)) == (6, 0, 1)
        assert "broken.jpg" in str(done)
        assert enrol_folder(gallery, MODEL, finder, tmp_path / "faces").there == 6
        assert all(gallery.image(key) is None for key in gallery.face_keys())
        Image.fromarray(face_of(9)).save(tmp_path / "faces" / "p2" / "1.png")
        rebuilt = rebuild(gallery, PlainModel("second", 5), "second", finder)
        assert rebuilt.described == 5
        assert "has changed" in next(iter(rebuilt.left_out.values()))


WRITER = """
import sys
import unicodedata
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import numpy as np
from plain_model import PlainModel, face_of
from oaml_core.inference.gallery.database import Gallery
gallery = Gallery(Path(sys.argv[1]), "first")
start = int(sys.argv[3])
for number in range(start, start + 1000):
    records = PlainModel().records(face_of(number)[None])
    gallery.add(f"p{number}", records, source="", digest=str(number), image=bytes(20000))
    print("added", number, flush=True)
    if number % 3 == 2:
        gallery.remove_person(f"p{number - 1}")
        print("removed", number - 1, flush=True)
"""


def test_killed_at_any_moment_every_acknowledged_change_is_there(tmp_path: Path) -> None:
    path, there = tmp_path / "g", set[str]()
    gone = set[str]()
    for round_, acknowledged in enumerate((1, 2, 4, 5, 9, 14)):
        command = [sys.executable, "-c", WRITER, str(path), str(TESTS), str(10000 * round_)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(acknowledged)]
            writer.kill()
            said += writer.stdout.read().splitlines()
        for line in said:
            word, _, number = line.strip().partition(" ")
            if word == "added":
                there.add(f"p{number}")
            elif word == "removed":
                gone.add(f"p{number}")
        with Gallery(path, "first") as gallery:
            assert verify_gallery(gallery) == []
            names = {one.name for one in gallery.people()}
            # What was under way when the writer was killed may be there or not: at most one person each way.
            assert len((there - gone) - names) <= 1
            assert not gone & names
            assert len(names - (there - gone)) <= 1
            assert all(one.faces == 1 for one in gallery.people())
        there, gone = names, gone
