"""What a killed process leaves of a gallery."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from benchmarks.serving_kills import Drawn, kill_many
from oaml_core.inference.gallery.database import Gallery


def test_what_was_acknowledged_is_there_and_what_was_deleted_is_gone() -> None:
    row = kill_many(6, longest=0.5)
    assert (row["kills"], row["wrong"]) == (6, 0)


def test_content_of_a_change_that_was_cut_off_is_no_longer_in_the_file(tmp_path: Path) -> None:
    """A free page is not in the journal: undoing the change leaves there what the change wrote."""
    path, secret = tmp_path / "people.gallery", b"nobody may read this any more"
    with Gallery(path, Drawn(0).version) as gallery:
        with gallery.change() as db:
            db.execute("INSERT INTO meta VALUES ('large', ?)", (bytes(400_000),))
        with gallery.change() as db:
            db.execute("DELETE FROM meta WHERE key = 'large'")
    child = os.fork()
    if not child:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA cache_size = 1")  # so that the change reaches the file before its end
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO meta VALUES ('large', ?)", (secret * 13_000,))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    if secret not in path.read_bytes():
        pytest.skip("this SQLite writes nothing before the change ends")
    with Gallery(path) as gallery:
        assert gallery.meta("large") == ""
        assert gallery.model == Drawn(0).version
    assert secret not in path.read_bytes()
