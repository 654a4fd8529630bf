"""The gallery's file: opened, checked, and changed by whole transactions."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from oaml_core.errors import DataError, GalleryMoved, Withdrawn
from oaml_core.inference.gallery.detected import TABLE
from oaml_core.sqlite_damage import is_damage

APPLICATION = 0x4F414D47
"""Number in the file's header that says whose it is."""
SCHEMA = 2
"""Version of the tables."""
WAIT = 30.0
"""Seconds that a writer waits for another one."""
MODEL_AT = "model_at"
"""Key of the table `meta`: where the model lies that the records are of."""
TABLES = """
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
"""
NEWER = {2: TABLE}
"""Tables that each later version adds: new files get them after `TABLES`, earlier files when they are opened."""


DAMAGE_REMEDY = "Bring it back from an export, or enrol its faces again."
KIND_REMEDY = "Name a file that this version's `oaml gallery` made, or one that is not there yet."
WRITE_REMEDY = (
    "The file and its folder must be writable, for searching too. Copy it to such a place, or change its owner."
)
BUSY_REMEDY = "Another process changes it. Run the same command again when that has ended."
REMEDIES_BY_CAUSE = {
    "SQLITE_NOTADB": KIND_REMEDY,
    "SQLITE_READONLY": WRITE_REMEDY,
    "SQLITE_CANTOPEN": WRITE_REMEDY,
    "SQLITE_PERM": WRITE_REMEDY,
    "SQLITE_FULL": "The disk is full. Free some of it.",
    "SQLITE_IOERR": "The disk is full, fails, or limits how far a file may grow (`ulimit -f`).",
    "SQLITE_BUSY": BUSY_REMEDY,
    "SQLITE_LOCKED": BUSY_REMEDY,
}
"""Remedy by the first two words of SQLite's name of the error."""


class GalleryFile:
    """The SQLite file of a gallery. Several threads and processes may use it at once.

    A change is one transaction: after a crash or a lost power supply it is there as a whole or not at all. Deleted
    content is overwritten with zeros before the transaction ends (`secure_delete`). A change that a crash ended may
    leave content in free pages, which the journal does not restore: the file is written anew when it is opened next.

    Args:
        path: of the file; it is created if it is missing and `model` is given.
        model: version of the model whose records are read and written; None: the one that the gallery is of.

    Raises:
        DataError: there is no such file, or it is no gallery.
        GalleryMoved: it is of another model.
    """

    def __init__(self, path: str | Path, model: str | None = None) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            raise DataError(f"{self.path} is a folder; a gallery is one file.", here="Name that file.")
        if model is None and not self.path.is_file():
            raise DataError(
                "There is no such gallery.",
                here=f"{self.path} is missing; `oaml gallery add {self.path} FOLDER` makes one.",
            )
        self._lock = threading.RLock()
        self._asked = threading.local()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are opened by hand: each change is one.
            has_journal = _has_journal(self.path)
            self._db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            was_cut = has_journal and self._is_free()
            self._open(model)
            if was_cut:
                self._db.execute("VACUUM")
        except (sqlite3.DatabaseError, UnicodeDecodeError, OSError) as error:  # a damaged file's names are no text
            raise DataError(
                f"The file cannot be opened as a gallery: {error}.", here=f"It lies at {self.path}. {_remedy(error)}"
            ) from error
        self.model = self.meta("model")
        """Version of the model that the records are of."""
        if model is not None and self.model != model:
            self._db.close()
            raise GalleryMoved(
                f"The gallery is of model {self.model}, not of {model}.",
                here=f"`oaml gallery rebuild {self.path}` describes its faces with another model; or name the model "
                "that it is of.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self, model: str | None) -> None:
        for pragma in ("foreign_keys = ON", "secure_delete = ON", "journal_mode = DELETE", "synchronous = EXTRA"):
            self._db.execute(f"PRAGMA {pragma}").fetchall()
        with self._transaction():
            mark = self._db.execute("PRAGMA application_id").fetchone()[0]
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if empty and not mark and model is not None:
                self._run(TABLES)
                self._db.execute("INSERT INTO meta VALUES ('model', ?)", (model,))
                self.on_made(self._db)
                self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                version = 1
            elif mark != APPLICATION:
                raise sqlite3.DatabaseError("it is another kind of file")
            elif not 1 <= version <= SCHEMA:
                raise sqlite3.DatabaseError(f"its tables have version {version}, this program knows 1 to {SCHEMA}")
            for later in range(version + 1, SCHEMA + 1):
                self._run(NEWER[later])
            if version < SCHEMA:
                self._db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _run(self, statements: str) -> None:
        """Execute statements within a change; `executescript` would end it."""
        for statement in filter(str.strip, statements.split(";")):
            self._db.execute(statement)

    def on_made(self, db: sqlite3.Connection) -> None:
        """Write what a new file begins with, within the change that makes it; a subclass says what that is."""

    def _is_free(self) -> bool:
        """Return True if nobody changes the file right now."""
        self._db.execute("PRAGMA busy_timeout = 0")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * WAIT)}")
        return True

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction; undone if the block raises, or if the thread's `permitted` says no at its end.

        Raises:
            DataError: the file is damaged. Withdrawn: `permitted` says no.
        """
        with self._naming_damage(), self._transaction() as db:
            yield db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                permit: Callable[[], bool] | None = getattr(self._asked, "permit", None)
                if permit is not None and not permit():
                    raise Withdrawn("The change was withdrawn; nothing was changed.")
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk may have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def permitted(self, permit: Callable[[], bool]) -> Iterator[None]:
        """Ask before each change that this thread makes in the block, at the last moment.

        Args:
            permit: returns True if the change may be made. It is then made, unless the file itself fails.

        Raises:
            Withdrawn: by the change, if `permit` returns False; nothing was changed.
        """
        self._asked.permit = permit
        try:
            yield
        finally:
            self._asked.permit = None

    def require_model(self) -> None:
        """Return if the gallery is still of the model that it was opened for.

        Raises:
            GalleryMoved: it is of another one.
        """
        present = self.meta("model")
        if present != self.model:
            raise GalleryMoved(
                f"The gallery is of model {present} now, not of {self.model}.", here=f"Open {self.path} again."
            )

    def meta(self, key: str) -> str:
        """Return one of the values that hold for the whole gallery; an empty string if it was never set."""
        rows = self.query("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else ""

    @property
    def model_address(self) -> str:
        """The address of the gallery's model, as it was noted last; empty: nobody noted it."""
        return self.meta(MODEL_AT)

    def note_model_address(self, address: str) -> None:
        """Note where the gallery's model lies, so that others find it."""
        if address and address != self.model_address:
            with self.change() as db:
                db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (MODEL_AT, address))

    def query(self, words: str, *values: object) -> list[tuple[Any, ...]]:
        """Return all rows that an SQL query finds."""
        with self._lock, self._naming_damage():
            return self._db.execute(words, values).fetchall()

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Name the file where what is read of it is damaged; a busy or full disk keeps its own error."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if not is_damage(error):
                raise
            raise self._damaged(error) from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._damaged(error) from None
        except MemoryError:
            raise self._damaged(MemoryError("it announces more than the memory holds")) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"The gallery's file is damaged ({error}). {DAMAGE_REMEDY}",
            here=f"It lies at {self.path}.",
        )

    @property
    def state(self) -> tuple[int, int]:
        """Numbers that change whenever the file's content may have changed, by this or another process."""
        with self._lock:
            return self._db.execute("PRAGMA data_version").fetchone()[0], self._db.total_changes


def _remedy(error: Exception) -> str:
    """Return what can be done about a file that cannot be opened."""
    cause = "_".join(str(getattr(error, "sqlite_errorname", "")).split("_")[:2])
    return REMEDIES_BY_CAUSE.get(
        cause, DAMAGE_REMEDY if cause or isinstance(error, UnicodeDecodeError) else KIND_REMEDY
    )


def _has_journal(path: Path) -> bool:
    """Return True if a change of the file was cut off, or is under way in another process."""
    try:
        return path.with_name(f"{path.name}-journal").stat().st_size > 0
    except FileNotFoundError:
        return False
