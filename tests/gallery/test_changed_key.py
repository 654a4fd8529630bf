"""Another key for an encrypted gallery: nothing is lost wherever the change is cut off, and the old key is refused."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_model import PlainModel, face_of
from test_gallery import MODEL, enrol, records_of

from oaml_core.cli import main
from oaml_core.errors import DataError, GalleryLocked
from oaml_core.inference.gallery.copies import verify_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.encryption import encrypt_contents
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.gallery.rebuild import encode_face, rebuild
from oaml_core.inference.gallery.sealing import KEY_FILE_VARIABLE, KEY_VARIABLE, GalleryCipher

OLD, NEW = bytes([1]) * 32, bytes([2]) * 32
PEOPLE = 6


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.fixture
def gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gallery]:
    """A gallery that is encrypted with the old key; every second face has its image."""
    monkeypatch.setenv(KEY_VARIABLE, text(OLD))
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        for person in range(PEOPLE):
            enrol(opened, person, image=person % 2 == 0)
        yield opened


def is_whole(gallery: Gallery) -> bool:
    """Return True if every record and every image is as it was enrolled."""
    keys = gallery.face_keys()
    return (
        verify_gallery(gallery) == []
        and [gallery.packed([key])[key] for key in keys] == [pack_record(records_of(n)) for n in range(PEOPLE)]
        and [gallery.image(key) for key in keys] == [None if n % 2 else encode_face(face_of(n)) for n in range(PEOPLE)]
    )


def stored(gallery: Gallery) -> list[bytes]:
    """Return the encrypted contents as they lie in the file."""
    words = "SELECT detail FROM records UNION ALL SELECT image FROM faces WHERE image IS NOT NULL"
    return [row[0] for row in gallery.query(words)]


def test_the_new_key_opens_everything_and_the_old_one_nothing(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored(gallery)
    with Gallery(gallery.path) as running:  # a service that goes on with the old key
        assert encrypt_contents(gallery, GalleryCipher(NEW)) == PEOPLE
        assert is_whole(gallery)
        for task in (lambda: running.records(running.face_keys()), lambda: enrol(running, 50)):
            with pytest.raises(GalleryLocked, match=r"another key than the one given.*is encrypted with now"):
                task()
    content = gallery.path.read_bytes()
    assert not [one for one in before if one[4:16] in content or one[-40:] in content]
    monkeypatch.setenv(KEY_VARIABLE, text(NEW))
    with Gallery(gallery.path) as opened:
        enrol(opened, PEOPLE)
        assert verify_gallery(opened) == []
        assert encrypt_contents(opened, GalleryCipher(NEW)) == 0


def test_records_of_a_coming_model_get_the_new_key_too(gallery: Gallery, tmp_path: Path) -> None:
    # Faces without image or photograph hold the change over up: their records of the coming model wait in the file.
    coming = PlainModel("second", turn=5)
    assert not rebuild(gallery, coming, "second", None).switched
    encrypt_contents(gallery, GalleryCipher(NEW))
    assert rebuild(gallery, coming, "second", None, forget=True).switched
    assert verify_gallery(gallery) == []
    assert gallery.packed([1])[1] == pack_record(coming.records(face_of(0)[None]))


class CutOff(GalleryCipher):
    """Copies the gallery's files before each content is encrypted, as a crash would leave them there."""

    def __init__(self, key: bytes, gallery: Gallery, folder: Path) -> None:
        super().__init__(key)
        self.path, self.folder = gallery.path, folder
        self.copies: list[Path] = []

    def seal(self, kind: bytes, content: bytes, about: str) -> bytes:
        self.copies.append(self.folder / str(len(self.copies)) / self.path.name)
        self.copies[-1].parent.mkdir(parents=True)
        for file in self.path.parent.glob(f"{self.path.name}*"):
            shutil.copy(file, self.copies[-1].parent)
        return super().seal(kind, content, about)


def test_cut_off_at_any_write_the_old_key_opens_everything(gallery: Gallery, tmp_path: Path) -> None:
    gallery.query("PRAGMA cache_size = 1")  # pages go to the file at once, not at the end: more is half-written
    whole = gallery.path.read_bytes()
    cipher = CutOff(NEW, gallery, tmp_path / "crashed")
    encrypt_contents(gallery, cipher)
    assert len(cipher.copies) == PEOPLE + PEOPLE // 2 + 1
    assert any(copy.read_bytes() != whole for copy in cipher.copies)
    for copy in cipher.copies:
        with Gallery(copy) as opened:
            assert is_whole(opened), f"cut off at write {copy.parent.name}"


REKEYING = """
import sys
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.encryption import encrypt_contents
from oaml_core.inference.gallery.sealing import GalleryCipher
keys = [bytes([int(number)]) * 32 for number in sys.argv[2:]]
with Gallery(sys.argv[1]) as gallery:
    while True:
        for key in keys:
            encrypt_contents(gallery, GalleryCipher(key))
            print(key[0], flush=True)
"""


def test_killed_at_any_moment_one_of_both_keys_opens_everything(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.close()
    present, other = OLD, NEW
    for part in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
        monkeypatch.setenv(KEY_VARIABLE, text(present))
        command = [sys.executable, "-c", REKEYING, str(gallery.path), str(other[0]), str(present[0])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(2)]
            start = time.perf_counter()
            said.append(process.stdout.readline())
            time.sleep(part * (time.perf_counter() - start))  # the next change takes about as long
            process.kill()
            said += process.stdout.read().splitlines()
        assert int(said[-1]) in (present[0], other[0])
        # The change that was under way may have been made: then the key is the one after the last that was told.
        if Gallery(gallery.path).is_encrypted_by(GalleryCipher(other)):
            present, other = other, present
        monkeypatch.setenv(KEY_VARIABLE, text(present))
        with Gallery(gallery.path) as opened:
            assert is_whole(opened)
        monkeypatch.setenv(KEY_VARIABLE, text(other))
        with Gallery(gallery.path) as opened, pytest.raises(GalleryLocked):
            opened.require_key()


def test_a_content_that_was_changed_keeps_the_old_key_for_all(gallery: Gallery) -> None:
    with gallery.change() as db:
        db.execute("UPDATE records SET detail = substr(detail, 1, 30) WHERE face = 3")
    before = stored(gallery)
    with pytest.raises(DataError, match=r"Face 3 cannot be decrypted.*rm .*--key 3"):
        encrypt_contents(gallery, GalleryCipher(NEW))
    assert stored(gallery) == before
    gallery.remove_face(3)
    assert encrypt_contents(gallery, GalleryCipher(NEW)) == PEOPLE - 1


def test_the_command_says_what_it_did_and_may_be_repeated(
    gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(KEY_VARIABLE)
    monkeypatch.chdir(tmp_path)
    for name, key in (("old.key", OLD), ("new.key", NEW), ("third.key", bytes(32))):
        (tmp_path / name).write_text(f"{text(key)}\n")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["gallery", "rekey", "people.gallery", *words])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    code, said = run("new.key")
    assert (code, "no key is given" in said) == (1, True)
    monkeypatch.setenv(KEY_FILE_VARIABLE, "old.key")
    assert run("new.key") == (0, "6 faces are encrypted with the key in new.key; no other key opens them now\n")
    assert run("new.key") == (0, "people.gallery is encrypted with the key in new.key already\n")
    code, said = run("third.key")
    assert (code, "another key than the one given" in said) == (1, True)
    for words, message in (((), "one more word"), (("none",), "none cannot be read"), (("people.gallery",), "key")):
        code, said = run(*words)
        assert (code, message in said) == (2, True), said
    with pytest.raises(SystemExit):
        main(["gallery", "ls", "people.gallery"])
    assert "6 people, 6 faces, model first, encrypted" in capsys.readouterr().out
    monkeypatch.setenv(KEY_FILE_VARIABLE, "new.key")
    with Gallery("people.gallery") as opened:
        assert is_whole(opened)
