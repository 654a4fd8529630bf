"""Box and quality as fields of enrolled faces, also in files that were made before there were any."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from plain_model import PlainModel, face_of

from oaml_core.errors import DataError
from oaml_core.inference.gallery.copies import export_gallery, import_gallery, verify_gallery
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.detected import COLUMNS, Detected
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.photos.alignment import align_points
from oaml_core.photos.photo_face import PhotoFace
from oaml_core.photos.quality import Quality

MODEL = PlainModel()
FORMER = """
PRAGMA application_id = 1329679687;
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);
CREATE TABLE faces (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    source TEXT NOT NULL, digest TEXT NOT NULL, added TEXT NOT NULL, remark TEXT NOT NULL, image BLOB,
    UNIQUE (person, digest)
);
CREATE TABLE records (
    face INTEGER NOT NULL REFERENCES faces (id) ON DELETE CASCADE,
    model TEXT NOT NULL, embedding BLOB NOT NULL, detail BLOB NOT NULL,
    PRIMARY KEY (face, model)
);
INSERT INTO meta VALUES ('model', 'first');
"""
"""Statements that made the first version of the tables."""
FOUND = Detected(0.98, (212.5, 96.0, 388.1, 322.7), Quality(83.25, 12.5, 131.0, -2.125, 0.0625))


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A gallery of the first version with three people."""
    path = tmp_path / "former.gallery"
    with sqlite3.connect(path) as db:
        db.executescript(FORMER)
        for person in range(3):
            packed = pack_record(MODEL.records(face_of(person)[None]))
            db.execute("INSERT INTO people (name) VALUES (?)", (f"p{person}",))
            added = "2026-01-01T00:00:00+00:00"
            row = (person + 1, f"{person}.png", str(person), added, "aligned already")
            db.execute("INSERT INTO faces (person, source, digest, added, remark) VALUES (?, ?, ?, ?, ?)", row)
            db.execute("INSERT INTO records VALUES (?, 'first', ?, ?)", (person + 1, *packed))
    db.close()
    return path


def add(gallery: Gallery, person: int, detected: Detected | None = FOUND) -> int:
    key = gallery.add(
        f"p{person}", MODEL.records(face_of(person)[None]), source="", digest=f"new {person}", detected=detected
    )
    assert key is not None
    return key


def test_fields_of_a_face_come_back_and_go_with_it(tmp_path: Path) -> None:
    with Gallery(tmp_path / "g", MODEL.version) as gallery:
        key, bare = add(gallery, 1), add(gallery, 2, None)
        unseen = add(gallery, 3, Detected(1.0, None, None))
        found = gallery.faces()
        assert [found[one].detected for one in (key, bare, unseen)] == [FOUND, None, Detected(1.0, None, None)]
        other = FOUND._replace(box=None)
        new = gallery.replace(key, MODEL.records(face_of(1, 1)[None]), source="", digest="other", detected=other)
        assert gallery.faces([key, new])[new].detected == other
        gallery.remove_person("p1")
        assert gallery.query("SELECT face FROM detected") == [(unseen,)]


def test_a_found_face_has_box_and_quality() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    points = np.array([[150.0, 120], [210, 124], [181, 150], [155, 190], [205, 192]])
    box = np.array([120.04, 80, 240, 230.06])
    face = PhotoFace(face_of(1), photo, box, points, 0.9, align_points(points, np.ones(5), 112), 1)
    found = Detected.of(face)
    assert found == Detected(0.9, (120.0, 80.0, 240.0, 230.1), face.quality)
    assert found.quality is not None
    assert found.quality.eye_distance == pytest.approx(np.hypot(60, 4))
    assert str(found).startswith("box 120, 80 to 240, 230; 60 pixels between the eyes, sharpness ")
    assert str(Detected(1.0, None, None)) == ""


def test_a_former_file_opens_and_gets_the_fields(former: Path, tmp_path: Path) -> None:
    with Gallery(former, MODEL.version) as gallery:
        assert [(one.person, one.detected) for one in gallery.faces().values()] == [(f"p{n}", None) for n in range(3)]
        key = add(gallery, 3)
        assert verify_gallery(gallery) == []
        export_gallery(gallery, tmp_path / "copy")
    for path in (former, tmp_path / "copy"):
        with Gallery(path) as again:
            assert again.faces()[key].detected == FOUND
            assert again.query("PRAGMA user_version") == [(2,)]
    with Gallery(tmp_path / "other", MODEL.version) as other:
        add(other, 8)
        assert import_gallery(other, former) == (4, 0)
        assert {one.person: one.detected for one in other.faces().values()}["p3"] == FOUND
        assert verify_gallery(other) == []


def test_a_former_file_is_imported(former: Path, tmp_path: Path) -> None:
    with Gallery(tmp_path / "other", MODEL.version) as other:
        assert import_gallery(other, former) == (3, 0)
        assert [one.detected for one in other.faces().values()] == [None] * 3


CUT_OFF = """
import os, sys
from oaml_core.inference.gallery import file
run = file.GalleryFile._run
def cut_off(self, statements):
    run(self, statements)
    self._db.execute("PRAGMA cache_spill = 1")
    self._db.execute("CREATE TABLE large AS SELECT zeroblob(3000000) AS content")
    os.kill(os.getpid(), 9)
file.GalleryFile._run = cut_off
file.GalleryFile(sys.argv[1])
"""


def test_a_change_of_the_tables_that_is_cut_off_leaves_the_former_file(former: Path) -> None:
    before = hashlib.sha256(former.read_bytes()).hexdigest()
    ended = subprocess.run([sys.executable, "-c", CUT_OFF, str(former)], check=False)
    assert ended.returncode == -9
    assert former.with_name(f"{former.name}-journal").exists()
    with sqlite3.connect(f"file:{former}?mode=rw", uri=True) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('detected', 'large')").fetchone() == (0,)
    db.close()
    assert hashlib.sha256(former.read_bytes()).hexdigest() == before
    with Gallery(former, MODEL.version) as gallery:
        assert len(gallery.faces()) == 3
        assert verify_gallery(gallery) == []


def test_several_may_open_a_former_file_at_once(former: Path) -> None:
    def opened(_: int) -> int:
        with Gallery(former, MODEL.version) as gallery:
            return len(gallery.faces())

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(opened, range(12))) == [3] * 12


@pytest.mark.parametrize(
    ("column", "value"), [("yaw", "left"), ("box_top", None), ("sharpness", None), ("score", None), ("roll", 9e999)]
)
def test_damaged_fields_name_the_face(tmp_path: Path, column: str, value: object) -> None:
    assert column in COLUMNS
    with Gallery(tmp_path / "g", MODEL.version) as gallery:
        key = add(gallery, 1)
        with gallery.change() as db:
            db.execute(f"UPDATE detected SET {column} = ?", (value,))
        with pytest.raises(DataError, match=f"quality of face {key} is damaged"):
            gallery.faces()
        assert any(f"face {key}" in one for one in verify_gallery(gallery))


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with Gallery(tmp_path / "g", MODEL.version) as gallery:
        gallery.query("PRAGMA user_version = 3")
    with pytest.raises(DataError, match="version 3, this program knows 1 to 2"):
        Gallery(tmp_path / "g")
