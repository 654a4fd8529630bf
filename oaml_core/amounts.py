"""Numbers and names of things as people write them: `1 file`, `1,000 files`, `a, b, …`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

NAMES_SHOWN = 5


def amount(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun, `1 file` or `1,000 files`.

    Args:
        number: of things.
        one: noun for one, with a verb or more behind it: `file is`.
        more: the same for any other number; None: `one` and an s.
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"


def first_of(names: Iterable[str]) -> str:
    """Return the first `NAMES_SHOWN` names with commas between them, and `…` if there are more."""
    taken = list(islice(names, NAMES_SHOWN + 1))
    return ", ".join(taken[:NAMES_SHOWN]) + (", …" if len(taken) > NAMES_SHOWN else "")
