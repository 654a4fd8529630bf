"""Names of files and people, fit to print: what forges lines of a log is told and escaped."""

from __future__ import annotations

import os
import unicodedata

FORGING = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that forge lines of a log or cannot be written: control characters, bytes that are no UTF-8, line
and paragraph separators."""
TURNING = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction in which their neighbours are shown."""


def forges_lines(name: str) -> bool:
    """Return True if a name has line breaks or other control characters, or bytes that are no UTF-8.

    Blanks of any width and the joiners of Persian or Indian names are no such characters.
    """
    return not name.isprintable() and any(unicodedata.category(each) in FORGING for each in name)


def shown(name: str | os.PathLike[str]) -> str:
    r"""Return a name fit for logs, reports and terminals: what cannot be printed is escaped.

    Example:
        >>> print(shown("a\nb"))
        a\nb
    """
    text = os.fspath(name)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in FORGING and character not in TURNING:
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte of a name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
