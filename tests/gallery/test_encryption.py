"""A gallery whose local features and images are encrypted: what its bytes show, and what it takes to read them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from plain_model import PlainModel, covered, face_of
from test_gallery import MODEL, enrol, records_of

from oaml_core.errors import ConfigError, DataError, GalleryLocked
from oaml_core.inference.gallery.copies import export_gallery, import_gallery, verify_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.gallery.rebuild import encode_face, rebuild
from oaml_core.inference.gallery.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, cipher_from_environment
from oaml_core.inference.gallery.search import GallerySearch
from oaml_core.inference.records import FaceRecords

KEY, OTHER = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PEOPLE = 6


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gallery]:
    """An encrypted gallery, whose key the environment names."""
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        for person in range(PEOPLE):
            enrol(opened, person, image=True)
        yield opened


def secrets_of(person: int) -> list[bytes]:
    """Return pieces of what is encrypted of a face: of features, of visibility, and of the image."""
    detail, image = pack_record(records_of(person)).detail, encode_face(face_of(person))
    return [detail[len(detail) // 2 :][:40], detail[20:60], image[40:140], image[-80:-20]]


def bytes_beside(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


def test_the_file_shows_neither_local_features_nor_images(gallery: Gallery) -> None:
    content = bytes_beside(gallery.path)
    for person in range(PEOPLE):
        assert not [piece for piece in secrets_of(person) if piece in content]
        assert records_of(person).embedding.astype("<f4").tobytes() in content  # as the pages on galleries say


def test_with_its_key_a_gallery_answers_as_one_that_is_not_encrypted(gallery: Gallery) -> None:
    probe = MODEL.records(covered(face_of(5, 7))[None])
    found = GallerySearch(gallery, MODEL).search(FaceRecords(records_of(2).embedding, *probe[1:]))
    assert found.people[0].face.person == "person 5"
    key = found.people[0].face.key
    assert gallery.image(key) == encode_face(face_of(5))
    assert gallery.packed([key])[key] == pack_record(records_of(5))
    assert verify_gallery(gallery) == []


def test_local_vectors_are_encrypted_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    vector = np.random.default_rng(0).standard_normal((1, 128)).astype(np.float32)
    records = FaceRecords(*records_of(1)[:4], vector / np.linalg.norm(vector))
    with Gallery(tmp_path / "one.gallery", MODEL.version) as gallery:
        key = gallery.add("a", records, source="", digest="")
        assert key is not None
        assert pack_record(records).detail[-100:-20] not in bytes_beside(gallery.path)
        assert np.frombuffer(gallery.local_embeddings([key])[key], "<f4") @ records.local_embedding[0] > 0.99


@pytest.mark.parametrize(("key", "message"), [("", "no key is given"), (OTHER, "another key than the one given")])
def test_without_the_right_key_people_are_listed_and_deleted_but_not_compared(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, key: str, message: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with Gallery(gallery.path, MODEL.version) as locked:
        some = locked.face_keys()[0]
        for task in (
            locked.require_key,
            lambda: locked.image(some),
            lambda: locked.records([some]),
            lambda: GallerySearch(locked, MODEL).search(records_of(1)),
            lambda: enrol(locked, 50),
            lambda: rebuild(locked, MODEL, MODEL.version, None),
            lambda: rebuild(locked, PlainModel("second", 5), "second", None),
        ):
            with pytest.raises(GalleryLocked, match=f"{message}.*{KEY_FILE_VARIABLE}"):
                task()  # type: ignore[operator]
        assert message in verify_gallery(locked)[0]
        assert len(locked.people()) == PEOPLE
        locked.remove_person("person 1")
    assert [one.name for one in gallery.people()] == [f"person {number}" for number in range(PEOPLE) if number != 1]


def test_a_gallery_that_was_made_without_a_key_is_encrypted_by_a_rebuild(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "people.gallery"
    with Gallery(path, MODEL.version) as plain:
        for person in range(PEOPLE):
            enrol(plain, person, image=True)
        assert all(piece in bytes_beside(path) for piece in secrets_of(1))
        monkeypatch.setenv(KEY_VARIABLE, KEY)
        with Gallery(path, MODEL.version) as gallery:
            enrol(gallery, 40)
            assert not gallery.is_encrypted
            done = rebuild(gallery, MODEL, MODEL.version, None)
            assert (done.encrypted, done.switched) == (PEOPLE + 1, True)
            content = bytes_beside(path)
            assert not [piece for person in (*range(PEOPLE), 40) for piece in secrets_of(person) if piece in content]
            assert verify_gallery(gallery) == []
            assert rebuild(gallery, MODEL, MODEL.version, None).encrypted == 0
        with pytest.raises(GalleryLocked):  # opened before, without a key: nothing is written beside the others
            enrol(plain, 41)


def test_a_rebuild_for_another_model_stays_encrypted(gallery: Gallery) -> None:
    coming = PlainModel("second", turn=5)
    assert rebuild(gallery, coming, "second", None).switched
    detail = pack_record(coming.records(face_of(1)[None])).detail
    assert detail[len(detail) // 2 :][:40] not in bytes_beside(gallery.path)
    assert verify_gallery(gallery) == []


def test_a_deleted_person_of_an_encrypted_gallery_is_gone_byte_for_byte(gallery: Gallery) -> None:
    key = enrol(gallery, 77, image=True)
    words = "SELECT embedding, detail, image FROM records JOIN faces ON faces.id = face WHERE face = ?"
    stored = gallery.query(words, key)[0]
    pieces = [b"person 77", *(part[at : at + 60] for part in stored for at in (16, len(part) - 60))]
    assert all(piece in gallery.path.read_bytes() for piece in pieces)
    gallery.remove_person("person 77")
    after = bytes_beside(gallery.path)
    assert not [piece for piece in [*pieces, *secrets_of(77)] if piece in after]


def test_copies_are_encrypted_and_imported_with_the_key(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "copies").mkdir()
    copy, new = tmp_path / "copies" / "copy.gallery", tmp_path / "copies" / "new.gallery"
    export_gallery(gallery, copy)
    with Gallery(new, MODEL.version) as taken:
        assert import_gallery(taken, copy) == (PEOPLE, 0)
        assert verify_gallery(taken) == []
    content = bytes_beside(copy)
    assert not [piece for person in range(PEOPLE) for piece in secrets_of(person) if piece in content]


def test_content_that_was_changed_or_moved_to_another_face_is_refused(gallery: Gallery) -> None:
    first, second, third = gallery.face_keys()[:3]
    details = "SELECT detail FROM records WHERE face = ?"
    with gallery.change() as db:
        db.execute(f"UPDATE records SET detail = ({details}) WHERE face = ?", (first, second))
        db.execute("UPDATE records SET detail = substr(detail, 1, 9) WHERE face = ?", (third,))
        db.execute("UPDATE faces SET image = (SELECT image FROM faces WHERE id = ?) WHERE id = ?", (first, second))
    found = verify_gallery(gallery)
    assert [f"face {key} cannot be decrypted" in one for key, one in zip((second, third), found, strict=True)] == [
        True,
        True,
    ]
    with pytest.raises(DataError, match=f"face {second} cannot be decrypted"):
        gallery.image(second)
    with pytest.raises(DataError, match="cannot be decrypted"):
        gallery.records([second])


@pytest.mark.parametrize(
    ("key", "content", "message"),
    [
        ("no key", None, f"{KEY_VARIABLE} holds no key of galleries"),
        (base64.b64encode(bytes(16)).decode(), None, "32 bytes in base64"),
        ("", "short", "holds no key of galleries"),
        ("", "", "is empty"),
        ("", "ü", "cannot be read"),
        (KEY, KEY, "both set"),
    ],
)
def test_a_key_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, content: str | None, message: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    if content is not None:
        (tmp_path / "key").write_text(content, "utf-8")
        monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=message):
        Gallery(tmp_path / "people.gallery", MODEL.version)
    assert not (tmp_path / "people.gallery").exists()


def test_a_file_of_the_key_may_end_with_a_line_break(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_FILE_VARIABLE, str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=f"{tmp_path / 'key'}, which {KEY_FILE_VARIABLE} names, cannot be read"):
        cipher_from_environment()
    (tmp_path / "key").write_text(f"{KEY}\n")
    with Gallery(tmp_path / "people.gallery", MODEL.version) as gallery:
        enrol(gallery, 1, image=True)
    monkeypatch.delenv(KEY_FILE_VARIABLE)
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with Gallery(tmp_path / "people.gallery") as gallery:
        gallery.require_key()
