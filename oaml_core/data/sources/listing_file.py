"""Listings of sources in files, a line per entry, written and read as they stream."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

from oaml_core.data.sources.listing import SourceFile
from oaml_core.data.sources.listing_sum import EVERY, ListingSum
from oaml_core.folder_entries import FolderEntry
from oaml_core.structured_text import json_or_none

log = logging.getLogger(__name__)

MOST_HELD = 2 * EVERY
"""Entries that wait in memory at most: files up to the next mark, and as many that no reader sees."""


def line_of(entry: SourceFile | FolderEntry) -> str:
    """Return an entry's line: name, size and stamp, between which are tabs; JSON behind a tab where no reader sees it.

    Names of files hold no tabs and no line breaks.
    """
    if isinstance(entry, SourceFile):
        return f"{entry.name}\t{entry.size}\t{entry.stamp}\n"
    return f"\t{json.dumps(asdict(entry) | {'path': str(entry.path)})}\n"


def entry_of(line: str) -> SourceFile | FolderEntry:
    """Return the entry of a line that `line_of` wrote; raises ValueError or TypeError where it is damaged."""
    name, *rest = line.removesuffix("\n").split("\t")
    if name:
        size, stamp = rest
        return SourceFile(name, int(size), stamp)
    fields = json_or_none(line)
    return FolderEntry(**fields | {"path": Path(fields["path"])})


class _Kept:
    """One listing, as far as it is kept."""

    def __init__(self) -> None:
        self.begins_as_before = 0
        """Files at the beginning that were listed before in the same order: they are not kept."""
        self.first: IO[str] | None = None
        """They, listed once more."""
        self.held: list[str] = []
        """Lines of the last entries, which wait for the next mark; the garbage collector looks at no text."""
        self.file: IO[str] | None = None
        """All entries between, once one of them is known to be another one than before."""


class KeptListings:
    """Listings kept while they pass, so that a source with something new is listed once, and none is held in memory.

    Nothing is written of a listing as long as it is the one of before: `EVERY` entries wait in memory until the next
    mark says so. From the first difference on, entries go to the disk. The files have no names, and so end with the
    process. Where there is no room for one, the listing is not kept.

    Args:
        folder: on the disk that gets them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._kept: dict[str, _Kept] = {}

    def __enter__(self) -> KeptListings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._kept.clear()
        with suppress(OSError):
            self._open.close()

    def passing(
        self,
        use: str,
        entries: Iterable[SourceFile | FolderEntry],
        total: ListingSum,
        before: Sequence[int] | None = None,
    ) -> Iterator[SourceFile | FolderEntry]:
        """Yield entries as they come; those of the folder with that `use` are kept once all have passed.

        Args:
            use: of the folder.
            entries: its listing.
            total: gets its files.
            before: marks of the listing of before; None: listings of this source have no order, and one of more than
                `EVERY` entries is not kept.
        """
        kept, taking = _Kept(), True
        held = kept.held
        self._kept.pop(use, None)
        for entry in entries:
            at_mark = isinstance(entry, SourceFile) and total.add(entry)
            if taking:
                held.append(line_of(entry))
                if at_mark or len(held) >= MOST_HELD:
                    taking = self._settled(kept, total, before, at_mark=at_mark)
                    held.clear()
            yield entry
        if taking and (kept.file is None or self._flushed(kept.file)):
            self._kept[use] = kept

    def _settled(self, kept: _Kept, total: ListingSum, before: Sequence[int] | None, *, at_mark: bool) -> bool:
        """Pass over the entries that wait where they are as before, else write them; False if they cannot be kept."""
        if before is None:
            return False
        if kept.file is None:
            if at_mark and before[len(total.marks) - 1 : len(total.marks)] == total.marks[-1:]:
                kept.begins_as_before = total.count
                return True
            kept.file = self._new()
        return kept.file is not None and self._written(kept.file, kept.held)

    def lacks_beginning(self, use: str) -> bool:
        """Return True if all of a listing is kept except its beginning, which was as before."""
        return use in self._kept and self._kept[use].begins_as_before > 0

    def complete(self, use: str, again: Iterable[SourceFile | FolderEntry], marks: Sequence[int]) -> None:
        """Keep the beginning that was as before too, from another listing; one that differs by now is not kept.

        Args:
            use: of the folder.
            again: its listing, which is read as far as is needed.
            marks: of the first listing.
        """
        kept = self._kept[use]
        wanted, found = kept.begins_as_before, ListingSum(use)
        file = self._new()

        def beginning() -> Iterator[SourceFile | FolderEntry]:
            for entry in again:
                if isinstance(entry, SourceFile):
                    found.add(entry)
                yield entry
                if found.count == wanted:
                    return

        written = file is not None and self._written(file, map(line_of, beginning())) and self._flushed(file)
        if written and found.count == wanted and found.marks == list(marks[: len(found.marks)]):
            kept.first = file
        else:
            del self._kept[use]

    def entries(self) -> dict[str, Iterator[SourceFile | FolderEntry]]:
        """Return the entries of each listing that is kept whole, by the use of its folder."""
        return {
            use: map(entry_of, chain(self._from_start(kept.first), self._from_start(kept.file), kept.held))
            for use, kept in self._kept.items()
            if kept.first is not None or not kept.begins_as_before
        }

    def _new(self) -> IO[str] | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(  # noqa: SIM115  closed with all others
                "w+", encoding="utf-8", errors="surrogateescape", newline="\n", dir=self._folder
            )
        except OSError as error:
            self._without(error)
            return None
        return self._open.enter_context(file)

    def _written(self, file: IO[str], lines: Iterable[str]) -> bool:
        """Write lines; return False where the disk has no room for them."""
        try:
            file.writelines(lines)
        except OSError as error:
            self._without(error)
            return False
        return True

    def _flushed(self, file: IO[str]) -> bool:
        try:
            file.flush()
        except OSError as error:
            self._without(error)
            return False
        return True

    @staticmethod
    def _without(error: OSError) -> None:
        log.debug("The listing is not kept, and is made again where it is needed: %s", error)

    @staticmethod
    def _from_start(file: IO[str] | None) -> Iterator[str]:
        if file is not None:
            file.seek(0)
            yield from file
