"""Numbers of people that a file holds rounded: people whose numbers are near have become one, which nobody sees."""

from __future__ import annotations

import re
from collections.abc import Iterable

from oaml_core.amounts import amount

EXACT_FLOAT32 = 1 << 24
"""Whole numbers up to this one are exact as float32, beyond it only some are."""
EXACT_BITS = {16: 11, 32: 24, 64: 53}
"""Bits of whole numbers that floats of a width hold exactly."""
_SCIENTIFIC = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE]\+?\d+")


def rounded_floats(largest: float, width: int, where: str) -> list[str]:
    """Warn if numbers of people are beyond those that floats hold exactly.

    Args:
        largest: of the numbers.
        width: of the floats in bits.
        where: file and column, for the message.

    Returns:
        A sentence for the report, or nothing.
    """
    exact = 1 << EXACT_BITS[width]
    if not largest > exact:
        return []
    return [
        f"{where} numbers people as float{width}, up to {largest:,.0f}; beyond {exact:,} neighbours become one number, "
        "and so one person. Number people from 0, or give names"
    ]


def rounded_texts(identities: Iterable[str], where: str) -> list[str]:
    """Warn if identities are numbers that a spreadsheet has shortened, such as `1.23457E+12`.

    Args:
        identities: as they are written.
        where: the file, for the message.

    Returns:
        A sentence for the report, or nothing.
    """
    found = sorted({identity for identity in identities if _SCIENTIFIC.fullmatch(identity)})
    if not found:
        return []
    return [
        f"{amount(len(found), 'identity', 'identities')} of {where} are shortened numbers, as spreadsheets write "
        "them; the first is "
        f"{found[0]}. People whose numbers begin alike have become one: write the list again, with the column as text"
    ]
