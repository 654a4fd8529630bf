"""Listings of sources in files, a line per entry, written and read as they stream."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO

from oaml_core.data.sources.listing import SourceFile
from oaml_core.folder_entries import FolderEntry
from oaml_core.structured_text import json_or_none

log = logging.getLogger(__name__)


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


class KeptListings:
    """Listings kept on the disk while they pass, so that a source is listed once and no listing is held in memory.

    The files have no names, and so end with the process. Where there is no room for one, it is not kept.

    Args:
        folder: on the disk that gets them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._kept: dict[str, IO[str]] = {}

    def __enter__(self) -> KeptListings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._kept.clear()
        with suppress(OSError):
            self._open.close()

    def passing(self, use: str, entries: Iterable[SourceFile | FolderEntry]) -> Iterator[SourceFile | FolderEntry]:
        """Yield entries as they come; those of the folder with that `use` are kept once all have passed."""
        self._kept.pop(use, None)
        file = self._new()
        for entry in entries:
            if file is not None:
                try:
                    file.write(line_of(entry))
                except OSError as error:
                    file = self._without(error)
            yield entry
        if file is not None:
            try:
                file.flush()
                self._kept[use] = file
            except OSError as error:
                self._without(error)

    def entries(self) -> dict[str, Iterator[SourceFile | FolderEntry]]:
        """Return the entries of each listing that is kept, by the use of its folder."""
        return {use: map(entry_of, self._from_start(file)) for use, file in self._kept.items()}

    def _new(self) -> IO[str] | None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(  # noqa: SIM115  closed with all others
                "w+", encoding="utf-8", errors="surrogateescape", newline="\n", dir=self._folder
            )
        except OSError as error:
            return self._without(error)
        return self._open.enter_context(file)

    @staticmethod
    def _without(error: OSError) -> None:
        log.debug("The listing is not kept, and is made again where it is needed: %s", error)

    @staticmethod
    def _from_start(file: IO[str]) -> Iterator[str]:
        file.seek(0)
        yield from file
