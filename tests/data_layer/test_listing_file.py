"""A listing that passes is kept on the disk, whole or not at all."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from full_disk import full_disk

from oaml_core.data.sources.listing import SourceFile
from oaml_core.data.sources.listing_file import KeptListings, entry_of
from oaml_core.folder_entries import FolderEntry

UNSEEN = FolderEntry("a\nb\udcff/x", Path("/top/a\nb\udcff/x"), 3, 4, "unprintable", True, False)
ENTRIES = (SourceFile("p 0/é.jpg", 10, "f" * 32), UNSEEN, SourceFile("p0/2.jpg", 0, ""))


def test_entries_come_back_as_they_passed(tmp_path: Path) -> None:
    with KeptListings(tmp_path / "work") as listings:
        assert list(listings.passing("", ENTRIES)) == list(ENTRIES)
        assert list(listings.passing("verification", ENTRIES[1:])) == list(ENTRIES[1:])
        assert list(listings.passing("", reversed(ENTRIES))) == list(reversed(ENTRIES)), "again, as after a fault"
        found = {use: list(entries) for use, entries in listings.entries().items()}
        assert found == {"": list(reversed(ENTRIES)), "verification": list(ENTRIES[1:])}
        assert os.listdir(tmp_path / "work") == []
    assert listings.entries() == {}


def test_half_a_listing_is_not_kept(tmp_path: Path) -> None:
    with KeptListings(tmp_path) as listings:
        list(listings.passing("", ENTRIES))
        next(listings.passing("", ENTRIES))
        assert listings.entries() == {}


def test_without_room_the_listing_passes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with KeptListings(tmp_path / "file") as listings:
        assert list(listings.passing("", ENTRIES)) == list(ENTRIES)
        assert listings.entries() == {}
    many = [SourceFile(f"{number}.jpg", 1, "x" * 32) for number in range(1_000)]
    for room, entries in ((10_000, many), (10, many[:1])):
        with full_disk(room), KeptListings(tmp_path) as listings:
            assert list(listings.passing("", entries)) == entries
            assert listings.entries() == {}


def test_nothing_of_it_is_held(tmp_path: Path) -> None:
    with KeptListings(tmp_path) as listings:
        passing = listings.passing("", (SourceFile(f"{number:06d}.jpg", number, "x") for number in range(20_000)))
        tracemalloc.start()
        count = sum(1 for _ in passing)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == sum(1 for _ in listings.entries()[""]) == 20_000
    assert peak < 200_000


@pytest.mark.parametrize("line", ["", "a.jpg", "a.jpg\tx\t", "\t{}", "\t[1]", '\t{"path": "a", "other": 1}'])
def test_a_damaged_line_is_an_error(line: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        entry_of(f"{line}\n")
