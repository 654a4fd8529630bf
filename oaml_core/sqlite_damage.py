"""Tell a damaged SQLite file from one that is busy, or lies on a full disk."""

from __future__ import annotations

import sqlite3

DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
"""Primary result codes for a file that is none of SQLite's, is broken, or lacks the tables and columns asked for."""

BUSY_SECONDS = 60.0
"""Wait for another process that holds a file."""


def is_damage(error: sqlite3.Error) -> bool:
    """Return True if an error says that the file's content is wrong.

    Args:
        error: as `sqlite3` raised it. Its own errors have no code, such as that for text that is no UTF-8.
    """
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is None or code & 0xFF in DAMAGE  # the other bits only tell kinds of one kind apart
