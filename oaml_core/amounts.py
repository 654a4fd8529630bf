"""Numbers of things as people write them: `1 file`, `1,000 files`."""

from __future__ import annotations


def amount(number: int, one: str, more: str | None = None) -> str:
    """Return a number with its noun, `1 file` or `1,000 files`.

    Args:
        number: of things.
        one: noun for one, with a verb or more behind it: `file is`.
        more: the same for any other number; None: `one` and an s.
    """
    return f"{number:,} {one if number == 1 else more or f'{one}s'}"
