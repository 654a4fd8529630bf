"""The last line for what no check foresaw: what is wrong, with which file, and what to do; never a bare traceback."""

from __future__ import annotations

import errno
import io
import os
import sqlite3
import tempfile
import traceback
from pathlib import Path

from oaml_core.folder_entries import shown
from oaml_core.remedies import REMEDIES

DEBUG = "--debug"
"""Option of every command: show the traceback as well."""
NO_TEMPORARY_FOLDER = (
    "No folder for temporary files takes a file: the disks are full, or a limit stands (`ulimit -f`). Free some space, "
    "or let TMPDIR name a folder that can be written."
)
ANOTHER_WRITES = "Another process writes it. Wait until that one has ended, and run the same command again."
DATABASE = {
    "SQLITE_FULL": REMEDIES[errno.ENOSPC],
    "SQLITE_IOERR": "The disk is full, fails, or limits how far a file may grow (`ulimit -f`). Name another place.",
    "SQLITE_READONLY": REMEDIES[errno.EROFS],
    "SQLITE_CANTOPEN": REMEDIES[errno.EACCES],
    "SQLITE_PERM": REMEDIES[errno.EACCES],
    "SQLITE_BUSY": ANOTHER_WRITES,
    "SQLITE_LOCKED": ANOTHER_WRITES,
}
"""Remedy by the first two words of SQLite's name of the error, for the databases that are kept beside the data."""


def explain(error: BaseException) -> str:
    """Say in one line what went wrong, with which file, and what to do.

    Args:
        error: one that no part of OAML foresaw.

    Returns:
        The line, without the program's name.
    """
    if isinstance(error, OSError):
        if _is_without_temporary_folder(error):
            return NO_TEMPORARY_FOLDER
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        names = names or _written(error)
        reason = error.strerror or str(error) or type(error).__name__
        return _line(names, reason, _remedy(error))
    if isinstance(error, sqlite3.Error):
        return _line(_written(error), str(error), _remedy(error))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "The memory is used up. Lower data.batch_size, evaluate.batch_size or data.num_workers."
    first = (str(error).strip() or "without a message").splitlines()[0]
    place = _place(error)
    return f"{type(error).__name__}{place}: {shown(first[:300]).rstrip('.')}. OAML did not foresee this."


def _remedy(error: BaseException) -> str:
    """Return what can be done about an error of the operating system or of SQLite; empty if nothing is known."""
    if isinstance(error, OSError):
        return REMEDIES.get(error.errno or 0, "")
    return DATABASE.get("_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2]), "")


def _is_without_temporary_folder(error: OSError) -> bool:
    """Return True if the standard library found no place for temporary files: it says so as of an absent file."""
    return error.errno == errno.ENOENT and error.filename is None and "temporary directory" in (error.strerror or "")


def _line(names: list[str], reason: str, remedy: str) -> str:
    """Return files, reason and remedy in one line."""
    return shown(": ".join([*names, reason])).rstrip(".") + "." + (f" {remedy}" if remedy else "")


def keep_traceback(error: BaseException) -> str:
    """Write the traceback to a file of its own in the folder for temporary files.

    Args:
        error: what was raised.

    Returns:
        A sentence that says where it is. Where no file can be written, the traceback itself; of an error with a remedy
        a sentence that says how to see it.
    """
    text = "".join(traceback.format_exception(error))
    file = None
    try:
        with tempfile.NamedTemporaryFile("w", prefix="oaml-error-", suffix=".txt", delete=False) as file:
            file.write(text)
    except OSError:
        if file is not None:  # a full disk takes its name, and no text
            Path(file.name).unlink(missing_ok=True)
        if _remedy(error):
            return f"The traceback cannot be kept; {DEBUG} shows it."
        return f"The traceback cannot be kept:\n{text}"
    return f"The traceback is in {file.name}; {DEBUG} shows it here."


def _written(error: BaseException) -> list[str]:
    """Name the file that was being written, as a write that fails does not: an open one of the functions on the way."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str) and not name.startswith("<"):
                return [name]
        paths = [value for value in frame.f_locals.values() if isinstance(value, Path)]
        if paths:
            return [str(paths[-1])]
    return []


def _place(error: BaseException) -> str:
    """Name the function of OAML that the error came through last."""
    package = Path(__file__).parents[1].name
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if package in Path(frame.filename).parts]
    return f" in {Path(frames[-1].filename).stem}.{frames[-1].name}" if frames else ""
