"""A listing that passes is kept, whole or not at all, and written from its first difference on."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import pytest
from full_disk import full_disk

from oaml_core.data.sources import listing_file, listing_sum
from oaml_core.data.sources.listing import SourceFile
from oaml_core.data.sources.listing_file import KeptListings, entry_of
from oaml_core.data.sources.listing_sum import ListingSum
from oaml_core.folder_entries import FolderEntry

UNSEEN = FolderEntry("a\nb\udcff/x", Path("/top/a\nb\udcff/x"), 3, 4, "unprintable", True, False)
ENTRIES = (SourceFile("p 0/é.jpg", 10, "f" * 32), UNSEEN, SourceFile("p0/2.jpg", 0, ""))


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_sum, "EVERY", 10)
    monkeypatch.setattr(listing_file, "MOST_HELD", 20)


def named(numbers: Iterable[int], stamp: str = "x") -> list[SourceFile]:
    return [SourceFile(f"{number:06d}.jpg", number, stamp) for number in numbers]


def marks_of(files: Iterable[SourceFile]) -> list[int]:
    total = ListingSum("")
    for file in files:
        total.add(file)
    return total.marks


def passed(
    listings: KeptListings,
    entries: Iterable[SourceFile | FolderEntry],
    before: Sequence[int] | None = (),
    use: str = "",
) -> list[SourceFile | FolderEntry]:
    return list(listings.passing(use, entries, ListingSum(use), before))


def kept(listings: KeptListings) -> dict[str, list[SourceFile | FolderEntry]]:
    return {use: list(entries) for use, entries in listings.entries().items()}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each line that goes to the disk."""
    found: list[int] = []
    real = KeptListings._written

    def counted(kept: KeptListings, file: IO[str], lines: Iterable[str]) -> bool:
        lines = list(lines)
        found.extend(len(line.encode(errors="surrogateescape")) for line in lines)
        return real(kept, file, lines)

    monkeypatch.setattr(KeptListings, "_written", counted)
    return found


@pytest.mark.parametrize("more", [0, 50])
def test_entries_come_back_as_they_passed(more: int, tmp_path: Path) -> None:
    entries = [*ENTRIES, *named(range(more))]
    with KeptListings(tmp_path / "work") as listings:
        assert passed(listings, entries) == entries
        assert passed(listings, entries[1:], use="verification") == entries[1:]
        assert passed(listings, entries[::-1]) == entries[::-1], "again, as after a fault"
        assert kept(listings) == {"": entries[::-1], "verification": entries[1:]}
        assert more == 0 or os.listdir(tmp_path / "work") == []
    assert listings.entries() == {}


def test_half_a_listing_is_not_kept(tmp_path: Path) -> None:
    with KeptListings(tmp_path) as listings:
        passed(listings, ENTRIES)
        next(listings.passing("", ENTRIES, ListingSum("")))
        assert listings.entries() == {}


def test_without_room_the_listing_passes_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    many = named(range(1_000))
    with KeptListings(tmp_path / "file") as listings:
        assert passed(listings, many) == many
        assert listings.entries() == {}
    for room, entries in ((10_000, many), (10, many[:11])):
        with full_disk(room), KeptListings(tmp_path) as listings:
            assert passed(listings, entries) == entries
            assert listings.entries() == {}


def test_of_a_listing_as_before_nothing_is_written(tmp_path: Path, written: list[int]) -> None:
    files = named(range(1_005))
    with KeptListings(tmp_path / "work") as listings:
        assert passed(listings, files, marks_of(files)) == files
        assert (sum(written), (tmp_path / "work").exists()) == (0, False)
        passed(listings, [*files[:77], *named([77], "y"), *files[78:]], marks_of(files))
        assert len(written) == 1_000 - 70, (
            "but for those behind the last mark, from the run on that has the first difference"
        )


@pytest.mark.parametrize("place", [0, 9, 10, 500, 999, 1_002])
@pytest.mark.parametrize("change", ["added", "removed", "replaced"])
def test_a_listing_with_a_difference_is_kept_whole(place: int, change: str, tmp_path: Path) -> None:
    files = named(range(0, 2_006, 2))
    new = {"added": named([2 * place - 1]) + files[place : place + 1], "removed": [], "replaced": named([place], "y")}
    now = [*files[:place], *new[change], *files[place + 1 :]]
    with KeptListings(tmp_path) as listings:
        total = ListingSum("")
        assert list(listings.passing("", now, total, marks_of(files))) == now
        assert listings.lacks_beginning("") == (place >= 10)
        if place >= 10:
            assert kept(listings) == {}, "the beginning is listed once more first"
            read = iter(now)
            listings.complete("", read, total.marks)
            assert now.index(next(read, now[-1])) <= place, "as far as is needed"
        assert kept(listings) == {"": now}


def test_a_beginning_that_has_changed_meanwhile_is_not_taken(tmp_path: Path) -> None:
    files = named(range(100))
    now = [*files[:50], *files[51:]]
    for again in ([*named([0], "y"), *now[1:]], now[:7]):
        with KeptListings(tmp_path) as listings:
            total = ListingSum("")
            list(listings.passing("", now, total, marks_of(files)))
            listings.complete("", again, total.marks)
            assert kept(listings) == {}


def test_a_listing_without_an_order_is_kept_only_if_it_is_short(tmp_path: Path, written: list[int]) -> None:
    with KeptListings(tmp_path) as listings:
        passed(listings, named(range(9)), None)
        assert kept(listings) == {"": named(range(9))}
        passed(listings, named(range(1_000)), None)
        assert (kept(listings), written) == ({}, [])


@pytest.mark.parametrize("as_before", [True, False])
def test_nothing_of_it_is_held(as_before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_sum, "EVERY", 1_000)
    before = marks_of(named(range(20_000))) if as_before else ()
    with KeptListings(tmp_path) as listings:
        passing = listings.passing(
            "", (SourceFile(f"{number:06d}.jpg", number, "x") for number in range(20_000)), ListingSum(""), before
        )
        tracemalloc.start()
        count = sum(1 for _ in passing)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 20_000
        assert as_before or sum(1 for _ in listings.entries()[""]) == 20_000
    assert peak < 400_000


@pytest.mark.parametrize("line", ["", "a.jpg", "a.jpg\tx\t", "\t{}", "\t[1]", '\t{"path": "a", "other": 1}'])
def test_a_damaged_line_is_an_error(line: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        entry_of(f"{line}\n")
