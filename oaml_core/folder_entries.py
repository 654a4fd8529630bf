"""Entries of folders that others filled: regular files alone are read, links and names are judged."""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from oaml_core.amounts import amount
from oaml_core.counted_entries import Counted
from oaml_core.printable_names import forges_lines as forges_lines
from oaml_core.printable_names import shown as shown

log = logging.getLogger(__name__)

UNPRINTABLE = "names with line breaks or other control characters, or that are no UTF-8"
DANGLING = "links that lead nowhere"
LOOP = "links to a folder above them"
MANY_NAMES = "links to a folder that many others lead to"
LEAVING = "links that lead out of the folder"
UNREADABLE = "folders that may not be read"
HIDDEN = "names that begin with a dot"
OF_SYSTEMS = "what operating systems and their disks leave behind"
OF_NOBODY = frozenset({HIDDEN, OF_SYSTEMS})
"""Reasons for which nothing of a person or a data set is lost."""
EMPTY = "folders with nothing in them"
LEFT_BY_SYSTEMS = frozenset(
    {
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
"""Names, in lower case, that macOS, Windows, Linux and network disks use. Some hold thumbnails or deleted images."""
ARCHIVES = frozenset({".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
"""Endings of files that are unpacked before they are read."""
MOST_NAMES = 16
"""Names under which one folder is read. Links that branch would multiply its files without end."""
_KINDS = {
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFDIR: "folder",
}


class NoRegularFile(OSError):
    """A path that is a FIFO, a socket, a device or a folder; `strerror` names its kind."""


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """A file below a folder, or an entry that is not used."""

    name: str
    """Relative to the folder, with forward slashes."""
    path: Path
    size: int = 0
    changed: int = 0
    """Time of the last change in nanoseconds."""
    reason: str | None = None
    """Why it is not used; None: it is a regular file."""
    leads_out: bool = False
    """Whether a link that leaves the folder is on the way to it."""
    is_folder: bool = False
    """Whether it is known to be a folder, which is then not read."""


def no_folder(path: Path) -> str:
    """Say of a path where a folder is wanted what it is, and what to do if it is an archive: part of a sentence.

    Example:
        >>> no_folder(Path("faces.zip"))
        'there is no faces.zip'
    """
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    if there.is_dir() or not there.exists():
        return f"there is no {shown(path)}"
    path, name = there, shown(there)  # a file where a folder above is wanted
    if path.suffix.lower() in (*ARCHIVES, ".tar"):
        return f"{name} is an archive: unpack it, and name the folder that it was unpacked to"
    return f"{name} is a {kind_of(path.stat().st_mode)}, and a folder is wanted"


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file, and never wait for another program.

    Args:
        path: file, or a link to one.
        most: bytes above which it is not read.

    Raises:
        OSError: it cannot be read, is too large, or (`NoRegularFile`) is no regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise OSError(None, f"it has {amount(size, 'byte')}, at most {most:,} are read", str(path))
        return file.read()


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading, and never wait for another program, as a FIFO would have it.

    Args:
        path: file, or a link to one.

    Raises:
        OSError: it cannot be opened, or (`NoRegularFile`) is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL, which no name can have
        raise OSError(None, str(error), str(path)) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise NoRegularFile(None, f"it is a {kind_of(mode)}, no regular file", str(path))
    return open(descriptor, "rb")


def kind_of(mode: int) -> str:
    """Return what `st_mode` says of an entry, as a word: FIFO, socket, device, folder or file."""
    return _KINDS.get(stat.S_IFMT(mode), "file")


def files_below(
    folder: Path, *, leave: bool, any_name: bool = False, within: Path | None = None, empty: bool = False
) -> Iterator[FolderEntry]:
    """Yield all entries below a folder but folders, in the order of their names within each folder.

    Links are followed, also those to folders; loops are not. Nothing is opened. A folder that links reach under many
    names is read under `MOST_NAMES` of them.

    Args:
        folder: where to begin; a link to a folder is followed.
        leave: whether links that lead out of `within` are followed.
        any_name: whether files are used whose names begin with a dot, cannot be printed, or are `LEFT_BY_SYSTEMS`.
        within: `folder` or one above it; None: `folder`.
        empty: whether folders are yielded, as entries that are not used, which have no entry.
    """
    top = (within or folder).resolve()
    names: dict[Path, int] = {}
    waiting = [_first_place(folder)]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place.path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            yield FolderEntry(_relative(place.path, folder), place.path, reason=UNREADABLE, is_folder=True)
            continue
        if empty and not entries and place.path != folder:
            yield FolderEntry(_relative(place.path, folder), place.path, reason=EMPTY, is_folder=True)
        for entry in entries:
            refused = None if any_name else _refused_by_name(entry, folder)
            judged = refused or _judge(entry, place, top, folder, leave)
            if isinstance(judged, FolderEntry):
                yield judged
                continue
            names[judged.real] = names.get(judged.real, 0) + 1
            if names[judged.real] > MOST_NAMES:
                yield FolderEntry(_relative(judged.path, folder), judged.path, reason=MANY_NAMES, is_folder=True)
            else:
                waiting.append(judged)


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder that is to be read."""

    path: Path
    real: Path
    above: frozenset[Path]
    """Real paths of it, of the folders on the way to it, and of those that these lie in."""
    leads_out: bool


def _first_place(folder: Path) -> _Place:
    real = folder.resolve()
    return _Place(folder, real, frozenset({real, *real.parents}), False)


def is_of_systems(name: str) -> bool:
    """Return True if an operating system or its disk left a file or folder of this path, with forward slashes."""
    return not LEFT_BY_SYSTEMS.isdisjoint(name.lower().split("/"))


def _refused_by_name(entry: os.DirEntry[str], folder: Path) -> FolderEntry | None:
    path = Path(entry.path)
    if is_of_systems(entry.name):
        return FolderEntry(_relative(path, folder), path, reason=OF_SYSTEMS)
    if forges_lines(entry.name):
        return FolderEntry(_relative(path, folder), path, reason=UNPRINTABLE, is_folder=os.path.isdir(path))
    if entry.name.startswith("."):
        return FolderEntry(_relative(path, folder), path, reason=HIDDEN)
    return None


def _judge(entry: os.DirEntry[str], place: _Place, top: Path, folder: Path, leave: bool) -> FolderEntry | _Place:
    path = Path(entry.path)
    name = _relative(path, folder)
    real, leads_out = place.real / entry.name, place.leads_out
    try:
        if entry.is_symlink():
            real = path.resolve(strict=True)
            leads_out = not real.is_relative_to(top)
        found = os.stat(real)
    except (OSError, RuntimeError):  # RuntimeError: a ring of links, before Python 3.13
        return FolderEntry(name, path, reason=DANGLING)
    if leads_out and not leave:
        return FolderEntry(name, path, reason=LEAVING, is_folder=stat.S_ISDIR(found.st_mode))
    if stat.S_ISDIR(found.st_mode):
        if real in place.above:
            return FolderEntry(name, path, reason=LOOP, is_folder=True)
        return _Place(path, real, place.above | {real}, leads_out)
    if not stat.S_ISREG(found.st_mode):
        return FolderEntry(name, path, reason=f"no files but {kind_of(found.st_mode)}s")
    return FolderEntry(name, path, found.st_size, found.st_mtime_ns, leads_out=leads_out)


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def regular_files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files below a folder with one of these endings, by name; what is not used is told in the log.

    Args:
        folder: where to look; links are followed, also out of it.
        suffixes: endings in lower case.
    """
    wanted = frozenset(suffixes)
    found, passed_over = [], Counted()
    for entry in files_below(folder, leave=True):
        if entry.reason is None:
            if entry.path.suffix.lower() in wanted:
                found.append(entry.path)
        elif entry.reason not in OF_NOBODY:
            passed_over.add(entry.reason, entry.name)
    for sentence in passed_over.sentences("passed over"):
        log.warning("%s: %s", shown(folder), sentence)
    return sorted(found)


def folders_in(folder: Path, *, any_name: bool = False) -> list[Path]:
    """Return the folders directly in a folder, by name; those that are not used are told in the log.

    Args:
        folder: where to look; links are followed, also out of it.
        any_name: whether folders are taken whose names begin with a dot or cannot be printed.
    """
    top, found, passed_over = _first_place(folder), [], Counted()
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            refused = None if any_name else _refused_by_name(entry, folder)
            judged = refused or _judge(entry, top, top.real, folder, True)
            if isinstance(judged, _Place):
                found.append(judged.path)
            elif judged.reason is not None and judged.reason not in OF_NOBODY:
                passed_over.add(judged.reason or "", judged.name)
    for sentence in passed_over.sentences("passed over"):
        log.warning("%s: %s", shown(folder), sentence)
    return found


def names_of_one(folder: Path) -> dict[str, str]:
    """Return links directly in a folder that lead to a folder which stands there under another name, too.

    Args:
        folder: where to look; one that cannot be read has none.

    Returns:
        Name of each such link → the other name: that of the folder itself if it lies there, else the first link's.
    """
    first: dict[Path, str] = {}
    others: dict[str, str] = {}
    try:
        top = folder.resolve()
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: (entry.is_symlink(), entry.name))
    except (OSError, RuntimeError):
        return {}
    linked = any(entry.is_symlink() for entry in entries)
    for entry in entries if linked else ():
        real = Path(os.path.realpath(entry.path)) if entry.is_symlink() else top / entry.name
        if first.setdefault(real, entry.name) != entry.name and real.is_dir():
            others[entry.name] = first[real]
    return others
