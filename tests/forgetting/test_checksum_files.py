"""Files of checksums that cannot be read are told, whoever holds or damaged them; other databases are left alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from forgetting.conftest import NAME, Planted

from oaml_core.forgetting import caches
from oaml_core.forgetting.caches import Checksums
from oaml_core.forgetting.forget import forget


@pytest.fixture
def checksums(planted: Planted) -> Path:
    """The file that preparation left, which names the person."""
    path = planted.work / "checksums.sqlite"
    assert NAME.encode() in path.read_bytes()
    return path


@pytest.fixture
def held(checksums: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """The file while another process writes it."""
    monkeypatch.setattr(caches, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(checksums, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield database


def why_it_remains(planted: Planted, path: Path, *, apply: bool = False) -> list[str]:
    """Reasons why a file stays that a request gives."""
    return [each.why for each in forget(planted.case(NAME), apply=apply).remains if each.where == str(path)]


def test_a_file_that_another_process_holds_remains_and_goes_with_the_next_request(
    planted: Planted, checksums: Path, held: sqlite3.Connection
) -> None:
    for apply in (False, True):
        (why,) = why_it_remains(planted, checksums, apply=apply)
        assert "database is locked" in why
        assert "run the same command again" in why
    assert NAME.encode() in checksums.read_bytes()
    held.execute("ROLLBACK")
    assert why_it_remains(planted, checksums, apply=True) == []
    assert NAME.encode() not in checksums.read_bytes()


@pytest.mark.parametrize(
    "damage", [lambda content: b"no database", lambda content: content[:100] + b"\xff" * (len(content) - 100)]
)
def test_a_damaged_file_is_not_taken_for_one_without_the_person(
    planted: Planted, checksums: Path, damage: object
) -> None:
    assert callable(damage)
    checksums.write_bytes(damage(checksums.read_bytes()))
    before = checksums.read_bytes()
    (why,) = why_it_remains(planted, checksums, apply=True)
    assert "nobody can say whom it names" in why
    assert checksums.read_bytes() == before


def test_a_database_of_another_kind_is_neither_changed_nor_told(planted: Planted) -> None:
    other = planted.work / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE notes (path, sha256)")
        database.commit()
    before = other.read_bytes()
    place = Checksums(planted.case(NAME))
    found = place.search()
    assert [Path(item.where).name for item in found] == ["checksums.sqlite"]
    assert place.remains == []
    assert other.read_bytes() == before
