"""Text files as people save them: UTF-8, UTF-16 or UTF-32; cut by `,`, `;`, `|` or tabs."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from typing import NamedTuple

from oaml_core.amounts import amount
from oaml_core.errors import DataError
from oaml_core.printable_names import composed

LOOKED_AT = 200
"""Bytes at the start of a file that show UTF-16 without a byte order mark: every other one is 0."""
BLANKS = 1_000_000
"""Cells that the rows of a list may lack together: a row of a byte may lack as many as the first line has columns."""
MISSING = frozenset(
    {"na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none", "nat"}
    | {f"#n/a {kind}" for kind in ("na", "n/a")}
    | {"-1", "-1.0"}
)
"""Cells in lower case that programs write where a value is missing: pandas, R, SQL clients, spreadsheets, and codes of
categories."""
_WHOLE_FLOAT = re.compile(r"([+-]?\d+)\.0+")
"""A whole number that became a float because a neighbour was missing."""
_STATED_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""First line by which spreadsheets are told the separator."""


def is_missing(cell: str) -> bool:
    """Return True if a cell is empty, or holds what programs write for a missing value."""
    return not cell.strip() or cell.strip().lower() in MISSING


def one_spelling(identity: str) -> str:
    """Return an identity as all its spellings are written: accents composed (NFC), `12.0` as `12`.

    Names that macOS wrote have accents decomposed; columns with a gap have whole numbers as floats.

    Example:
        >>> one_spelling("12.0"), one_spelling("012")
        ('12', '012')
    """
    found = _WHOLE_FLOAT.fullmatch(identity)
    return found[1] if found else composed(identity)


class Table(NamedTuple):
    """Rows of a text file with a header."""

    columns: dict[str, list[str]]
    """Cells without surrounding blanks, by the name of the column."""
    lines: list[int]
    """Line of the file, from 1, that each row stands in."""


def decode_text(data: bytes, where: str) -> str:
    """Return the text of a file; never a guess.

    Args:
        data: its content.
        where: name of the file, for messages.

    Raises:
        DataError: it is neither UTF-8, UTF-16 nor UTF-32.
    """
    try:
        return data.decode(_encoding(data)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 (byte {error.start}), so its names would be guessed; a spreadsheet may have saved "
            "it as cp1252: save it as `CSV UTF-8`."
        ) from None


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):  # before UTF-16, whose mark begins the same
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = data[: LOOKED_AT & ~1]
    for zeros, name in ((start[1::2], "utf-16-le"), (start[::2], "utf-16-be")):
        if zeros and zeros.count(0) > len(zeros) * 0.6 and start.count(0) < len(start) * 0.9:
            return name
    return "utf-8"


def read_table(data: bytes, where: str) -> Table:
    """Read a list with a header.

    A first line `sep=;` states the separator; else it is the one of `,`, `;`, `|` and tab that the header has most of.

    Args:
        data: content of the file.
        where: name of the file, for messages.

    Raises:
        DataError: it is no text, or no list.
    """
    text = decode_text(data, where)
    stated = _STATED_SEPARATOR.match(text)
    skipped = 1 if stated else 0
    text = text[stated.end() :] if stated else text
    header = text.partition("\n")[0]
    separator = stated[1] if stated else max(",;\t|", key=header.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        names = [name.strip().lower() for name in next(reader, [])]
        if twice := [name for name, count in Counter(names).items() if name and count > 1]:
            raise DataError(f"{where} has the column {twice[0]!r} twice, and one would be lost. Rename or remove one.")
        rows: list[list[str]] = []
        lines: list[int] = []
        most = (len(text) + BLANKS) // max(1, len(names))
        for row in reader:
            if any(cell.strip() for cell in row):
                if len(rows) == most:
                    raise DataError(
                        f"{where} has {amount(len(names), 'column')}, and its rows have far fewer cells. Remove "
                        "columns without a value from its first line."
                    )
                rows.append(row)
                lines.append(reader.line_num + skipped)
    except csv.Error as error:
        raise DataError(f"{where} is no list that can be read ({error}); save it as CSV again.") from None
    columns = {
        name: [row[place].strip() if place < len(row) else "" for row in rows] for place, name in enumerate(names)
    }
    return Table(columns, lines)
