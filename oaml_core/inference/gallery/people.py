"""The people of a gallery: listed, renamed, merged, split and deleted."""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from collections.abc import Collection
from typing import NamedTuple

from oaml_core.errors import DataError, NotInGallery, nearest
from oaml_core.inference.gallery.encrypted_file import EncryptedFile
from oaml_core.printable_names import FORGING, UNSEEN, composed, shown, spellings

MOST_KNOWN = 1000
"""People among whom a mistyped name is looked for."""
LONGEST = 200
"""Characters of a name at most."""
JOINERS = "\u200c\u200d"
"""Characters that Persian and Indian names need between two letters; elsewhere nobody sees them."""
_STRAY_JOINER = re.compile(rf"(?:^|[\x00-\x7f])[{JOINERS}]|[{JOINERS}](?:[\x00-\x7f]|$)")
_LOST = "\N{REPLACEMENT CHARACTER}"
"""Character that stands for bytes that are no UTF-8: whose name it was is lost."""


class EnrolledPerson(NamedTuple):
    """One person of a gallery."""

    name: str
    faces: int


class GalleryPeople(EncryptedFile):
    """The people of a gallery, and whose each face is; `Gallery` adds the records of the faces."""

    def people(self, part: str = "") -> list[EnrolledPerson]:
        """Return people with the number of their faces, by name; accents and capitals do not count.

        Args:
            part: characters that the names hold; empty: all people.
        """
        words = "SELECT name, count(faces.id) FROM people LEFT JOIN faces ON person = people.id GROUP BY name"
        wanted = plain_spelling(part)
        found = ((plain_spelling(name), EnrolledPerson(name, count)) for name, count in self.query(words))
        return [one for _, one in sorted(each for each in found if wanted in each[0])]

    def spelled(self, name: str) -> str:
        """Return a name as the gallery has it: blanks around it left out, its accents in either form.

        A name that is not there is returned with its accents composed.
        """
        forms = spellings(name)
        known = {row[0] for row in self.query("SELECT name FROM people WHERE name IN (?, ?, ?, ?)", *forms)}
        return next((form for form in forms if form in known), composed(name.strip()))

    def remove_person(self, name: str) -> int:
        """Delete a person with all faces; returns how many there were.

        Raises:
            DataError: there is no such person.
        """
        name = self.spelled(name)
        with self.change() as db:
            faces = db.execute(
                "SELECT count(faces.id) FROM people LEFT JOIN faces ON person = people.id WHERE name = ? "
                "GROUP BY people.id",
                (name,),
            ).fetchone()
            if faces is None:
                raise self.nobody(name)
            db.execute("DELETE FROM people WHERE name = ?", (name,))
            return int(faces[0])

    def remove_face(self, key: int) -> None:
        """Delete one face; its person stays while others are left.

        Raises:
            DataError: there is no such face.
        """
        with self.change() as db:
            row = db.execute("SELECT person FROM faces WHERE id = ?", (key,)).fetchone()
            if row is None:
                raise self.no_face(key)
            db.execute("DELETE FROM faces WHERE id = ?", (key,))
            db.execute("DELETE FROM people WHERE id = ? AND id NOT IN (SELECT person FROM faces)", row)

    def merge(self, name: str, into: str) -> int:
        """Give all faces of a person to another one, and delete the first name; returns how many faces moved.

        Photographs that both have count once.

        Raises:
            DataError: one of them is not there, or both are the same.
        """
        name, into = self.spelled(name), self.spelled(into)
        if name == into:
            raise DataError(f"{name!r} cannot be merged into the same name.")
        with self.change() as db:
            ids = dict(db.execute("SELECT name, id FROM people WHERE name IN (?, ?)", (name, into)).fetchall())
            for one in (name, into):
                if one not in ids:
                    raise self.nobody(one)
            moved = db.execute(
                "UPDATE OR IGNORE faces SET person = ? WHERE person = ?", (ids[into], ids[name])
            ).rowcount
            db.execute("DELETE FROM people WHERE id = ?", (ids[name],))
            return int(moved)

    def split(self, name: str, keys: Collection[int], new: str) -> int:
        """Give some faces of a person to a new person, in one change; returns how many there are.

        Args:
            name: of the person.
            keys: faces that belong to somebody else.
            new: name that nobody has yet.

        Raises:
            DataError: there is no such person, a face is not of this person, no face is named or none would be left,
                the new name is none, or somebody has it.
        """
        name, wanted, moved = self.spelled(name), checked_name(new), set(keys)
        with self.change() as db:
            row = db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise self.nobody(name)
            own = {key for (key,) in db.execute("SELECT id FROM faces WHERE person = ?", row)}
            if strange := sorted(moved - own):
                raise NotInGallery(
                    f"Face {strange[0]} is not one of {name!r}.", here=f"`oaml gallery ls {self.path} NAME` lists them."
                )
            if not moved or moved == own:
                raise DataError(f"{name!r} is split by naming some faces, not none and not all; rename moves all.")
            if db.execute("SELECT 1 FROM people WHERE name = ?", (self.spelled(wanted),)).fetchone():
                raise DataError(f"{wanted!r} is there already. Move the faces there, or take another name.")
            owner = db.execute("INSERT INTO people (name) VALUES (?)", (wanted,)).lastrowid
            db.executemany("UPDATE faces SET person = ? WHERE id = ?", [(owner, key) for key in moved])
            return len(moved)

    def rename(self, name: str, new: str) -> int:
        """Give a person another name; returns how many faces the person has.

        Raises:
            DataError: there is no such person, the new name is none, or somebody else has it.
        """
        name, wanted = self.spelled(name), checked_name(new)
        with self.change() as db:
            row = db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise self.nobody(name)
            try:
                db.execute("UPDATE people SET name = ? WHERE id = ?", (wanted, *row))
            except sqlite3.IntegrityError:
                raise DataError(f"{wanted!r} is there already. Merge the two, or take another name.") from None
            return int(db.execute("SELECT count(*) FROM faces WHERE person = ?", row).fetchone()[0])

    def move_face(self, key: int, person: str) -> None:
        """Give one face to a person, who is made if new; a person without faces is deleted.

        Raises:
            DataError: there is no such face, the name is empty, or the person has this photograph already.
        """
        name = self.spelled(checked_name(person))
        with self.change() as db:
            row = db.execute("SELECT person FROM faces WHERE id = ?", (key,)).fetchone()
            if row is None:
                raise self.no_face(key)
            db.execute("INSERT INTO people (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            (owner,) = db.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
            try:
                db.execute("UPDATE faces SET person = ? WHERE id = ?", (owner, key))
            except sqlite3.IntegrityError:
                raise DataError(
                    f"{name!r} has the photograph of face {key} already; remove the face instead."
                ) from None
            db.execute("DELETE FROM people WHERE id = ? AND id NOT IN (SELECT person FROM faces)", row)

    def nobody(self, name: str) -> NotInGallery:
        """Return the error that says that nobody has this name, with the name that may be meant."""
        # With many people somebody is always near, and the look takes long.
        known = [row[0] for row in self.query("SELECT name FROM people LIMIT ?", MOST_KNOWN + 1)]
        hint = nearest(name, known) if len(known) <= MOST_KNOWN else ""
        return NotInGallery(
            f"There is nobody called {name!r} in the gallery.{hint}",
            here=f"`oaml gallery ls {self.path}` lists the people.",
        )

    def no_face(self, key: int) -> NotInGallery:
        """Return the error that says that a face is not there."""
        return NotInGallery(
            f"There is no face {key} in the gallery.", here=f"`oaml gallery ls {self.path} NAME` lists faces."
        )


def plain_spelling(name: str) -> str:
    """Return a name without accents and capitals, by which people are sorted and looked for.

    Example:
        >>> plain_spelling("Änne MÜLLER")
        'anne muller'
    """
    apart = unicodedata.normalize("NFKD", name)
    return "".join(each for each in apart if not unicodedata.combining(each)).casefold()


def checked_name(person: str) -> str:
    """Return the name without blanks around it, its accents composed.

    Blanks of any width and the joiners of Persian and Indian names are taken.

    Raises:
        DataError: it is empty, too long, or holds characters that cannot be seen or stand for bytes that are no text.
    """
    name = composed(person.strip())
    if _LOST in name:
        raise DataError(
            f"'{shown(person[:50])}' is no name of a person: some of its bytes are no UTF-8. Send the name in UTF-8."
        )
    if not name or len(name) > LONGEST or _STRAY_JOINER.search(name) or any(map(_is_unseen, name)):
        raise DataError(
            f"'{shown(person[:50])}' is no name of a person: it takes 1 to {LONGEST} characters that can be seen."
        )
    return name


def _is_unseen(character: str) -> bool:
    if character in JOINERS:
        return False
    return character in UNSEEN or unicodedata.category(character) in FORGING | {"Cf"}
