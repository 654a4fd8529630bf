"""Names of files and people: fit to print, what forges lines of a log is told and escaped; and their spellings."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata

FORGING = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that forge lines of a log or cannot be written: control characters, bytes that are no UTF-8, line
and paragraph separators."""
TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction in which their neighbours are shown."""
UNSEEN = frozenset("\u00ad\u115f\u1160\u180e\u200b\u2060\u2061\u2062\u2063\u2064\u3164\ufeff\uffa0")
"""Characters that no letter needs and nobody sees: two names that differ by one look alike. The joiners of Persian or
Indian names are none of them."""
_ESCAPED = TURNING | UNSEEN
_BETWEEN = re.compile(r"[\s_-]+")
"""Characters between the parts of a person's name."""


def forges_lines(name: str) -> bool:
    """Return True if a name has line breaks or other control characters, or bytes that are no UTF-8.

    Blanks of any width and the joiners of Persian or Indian names are no such characters.
    """
    return not name.isprintable() and any(unicodedata.category(each) in FORGING for each in name)


def composed(name: str) -> str:
    """Return a name with its accents composed (NFC); macOS writes them decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def spellings(name: str) -> tuple[str, ...]:
    """Return how a name may be written: as it is, without blanks around it, and so with its accents in both forms."""
    bare = name.strip()
    return name, bare, *(unicodedata.normalize(form, bare) for form in ("NFC", "NFD"))


def file_spelling(name: str) -> str:
    """Return what file names have in common that differ by case, accents or ending.

    Example:
        >>> file_spelling("Anna/01.JPG") == file_spelling("anna/01.png")
        True
    """
    return composed(posixpath.splitext(name)[0]).casefold()


def person_spelling(name: str) -> str:
    """Return what names have in common that differ by case, accents, widths, by blanks, `_` and `-`, or unseen.

    Example:
        >>> person_spelling("Anna_Berg ") == person_spelling("anna berg")
        True
    """
    seen = "".join(each for each in name if each not in UNSEEN)
    return _BETWEEN.sub(" ", unicodedata.normalize("NFKC", seen)).strip().casefold()


def shown(name: str | os.PathLike[str]) -> str:
    r"""Return a name fit for logs, reports and terminals: what cannot be printed is escaped.

    Example:
        >>> print(shown("a\nb"))
        a\nb
    """
    text = os.fspath(name)
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def in_cell(text: str) -> str:
    r"""Return text fit for a cell of a Markdown table: bars of its own begin no new cell.

    Example:
        >>> print(in_cell("mask|veil"))
        mask\|veil
    """
    return shown(text).replace("|", r"\|")


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in FORGING and character not in _ESCAPED:
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
