"""Numbers with their nouns: `1 face`, never `1 faces`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from oaml_core.amounts import amount, first_of

ROOT = Path(__file__).parents[1]
NOUNS = """
bytes characters classes conditions cores correspondences embeddings entries faces fields files folders folds groups
identities images layers lines masks minutes nights objects packages pages pairs people photographs probes requests rows
shards steps tags templates tiles times uploads workers
"""
BETWEEN = "(?!(?:for|of|or|and|in|on|is|its|are|as|numbers|names|lists|takes|gives) )[a-z]+ "
"""An adjective, as in `3 broken images`."""
FOLLOWS = re.compile(rf" (?:{BETWEEN})?({'|'.join(NOUNS.split())})\b")
NO_COUNTS = {"{condition} faces": "a kind of cover", "{size} faces": "112×112", "{kind} pairs": "genuine or impostor"}
"""Texts and sizes before such a noun, and their meaning."""


def test_one_thing_is_singular() -> None:
    assert [amount(number, "pair") for number in (0, 1, 2, 1000)] == ["0 pairs", "1 pair", "2 pairs", "1,000 pairs"]
    assert [amount(number, "person is", "people are") for number in (1, 2)] == ["1 person is", "2 people are"]


def counted_by_hand(text: str) -> Iterator[str]:
    """Yield the parts of f-strings in which a number stands before a plural noun.

    Left out: `3 of 5 images`, constants in capitals, and numbers with decimals.
    """
    for node in ast.walk(ast.parse(text)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for place, (value, after) in enumerate(pairwise(parts)):
            if not isinstance(value, ast.FormattedValue) or not isinstance(after, ast.Constant):
                continue
            before = parts[place - 1].value if place and isinstance(parts[place - 1], ast.Constant) else ""
            spec = "" if value.format_spec is None else ast.unparse(value.format_spec)
            written = ast.unparse(value.value)
            if before.endswith(" of ") or written.isupper() or any(kind in spec for kind in ".geE%><"):
                continue
            found = FOLLOWS.match(after.value)
            if found and (said := f"{{{written}}}{found[0]}") not in NO_COUNTS:
                yield said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('f"{len(x)} faces"', 1),
        ('f"{n:,} broken images of {m:,} images"', 1),
        ("f\"{amount(n, 'face')} added\"", 0),
        ('f"at most {MOST:,} rows"', 0),
        ('f"{rate:.0f} tiles/s"', 0),
    ],
)
def test_a_number_before_a_plural_is_seen(text: str, found: int) -> None:
    assert len(list(counted_by_hand(text))) == found


def test_every_message_that_counts_says_one_thing_in_the_singular() -> None:
    found = {}
    for top in ("oaml_core", "components", "pipelines", "images"):
        for path in (ROOT / top).rglob("*.py"):
            if by_hand := list(counted_by_hand(path.read_text(encoding="utf-8"))):
                found[path.relative_to(ROOT).as_posix()] = by_hand
    assert found == {}, "write the number by oaml_core.amounts.amount"


def test_the_first_names_stand_for_many_and_no_more_are_made_than_it_takes() -> None:
    assert first_of(["a", "b"]) == "a, b"
    assert first_of("abcde") == "a, b, c, d, e"
    made = iter(map(str, range(1_000_000)))
    assert first_of(made) == "0, 1, 2, 3, 4, …"
    assert next(made) == "6"
