"""Ways to damage a file: flips, cuts, repeats, odd numbers, odd values in JSON, pieces of other files."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

LARGEST = 1 << 20
"""Bytes of a damaged file at most."""
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "\0", "../../x", "9" * 5000),
    *([], {}, [[]], [None], {"": None}, "nan", [1, 2, 3], "x" * 20_000, "\ud800", "a\nb"),
)
"""Values that a JSON document may hold where others are meant."""
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
TOKENS = (
    *(b"\0", b"\n", b"\r", b'"', b",", b"\t", b"[", b"{", b"NaN", b"-1", b"1e999", b"9" * 400, b"../", b"\xff\xfe"),
    *(b"\xef\xbb\xbf", b"\xed\xa0\x80", b"null", b"&a [*a]", b"<<: ", b"(1,", b"O", b"sep=", b"\xe2\x80\xa8"),
)
"""Pieces of text that parsers trip over."""


class Edit(NamedTuple):
    """One damage: its kind, where it begins (a share of the file in 1/65536), and two numbers that shape it."""

    kind: int
    place: int
    size: int
    choice: int


def damaged(content: bytes, edits: Sequence[Edit], others: Sequence[bytes] = ()) -> bytes:
    """Return `content` after all edits.

    Args:
        content: of a whole file.
        edits: in their order.
        others: contents of further files, from which pieces are taken.
    """
    for edit in edits:
        content = KINDS[edit.kind % len(KINDS)](content, edit, others)[:LARGEST]
    return content


def _at(content: bytes, edit: Edit) -> int:
    return edit.place * (len(content) + 1) >> 16


def _flip(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at = min(_at(content, edit), len(content) - 1)
    return content[:at] + bytes([content[at] ^ (1 << edit.choice % 8)]) + content[at + 1 :] if content else b"\0"


def _cut(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    return content[: _at(content, edit)]


def _leave_out(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at = _at(content, edit)
    return content[:at] + content[at + edit.size :]


def _repeat(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at = _at(content, edit)
    return content[:at] + content[at : at + edit.size] * (1 + edit.choice % 1000) + content[at:]


def _number(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at, width = _at(content, edit), 1 << edit.size % 4
    number = ODD_NUMBERS[edit.choice % len(ODD_NUMBERS)] % (1 << 8 * width)
    return content[:at] + number.to_bytes(width, "little" if edit.size & 4 else "big") + content[at + width :]


def _token(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at = _at(content, edit)
    return content[:at] + TOKENS[edit.choice % len(TOKENS)] + content[at + edit.size % 3 :]


def _splice(content: bytes, edit: Edit, others: Sequence[bytes]) -> bytes:
    other = others[edit.choice % len(others)] if others else bytes(range(256))
    at = _at(content, edit)
    begin = edit.choice * 97 % (len(other) + 1)
    return content[:at] + other[begin : begin + edit.size] + content[at:]


def _zero(content: bytes, edit: Edit, _: Sequence[bytes]) -> bytes:
    at = _at(content, edit)
    return content[:at] + bytes(min(edit.size, max(0, len(content) - at))) + content[at + edit.size :]


def _odd_value(content: bytes, edit: Edit, others: Sequence[bytes]) -> bytes:
    """Put another value somewhere into a JSON document; other files get an odd number instead."""
    try:
        document = copy.deepcopy(json.loads(content))
    except (ValueError, RecursionError):
        return _number(content, edit, others)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        node = waiting.pop()
        inside = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if _is_list(node) else []
        places += [(node, key) for key, _ in inside]
        waiting += [value for _, value in inside]
    value = ODD_VALUES[edit.choice % len(ODD_VALUES)]
    if not places or edit.size % 16 == 0:
        return _dumped(value)
    holder, key = places[edit.place * len(places) >> 16]
    if edit.size % 16 == 1:
        del holder[key]
    else:
        holder[key] = value
    return _dumped(document)


def _dumped(value: Any) -> bytes:
    try:
        return json.dumps(value, indent=1).encode()
    except ValueError:  # a number of more digits than Python writes
        return b"[" + b"9" * 10_000 + b"]"


def _is_list(value: object) -> bool:
    return isinstance(value, list)


KINDS: tuple[Callable[[bytes, Edit, Sequence[bytes]], bytes], ...] = (
    *(_flip, _cut, _leave_out, _repeat, _number, _number, _token, _splice, _zero),
    *(_odd_value, _odd_value, _odd_value),
)
