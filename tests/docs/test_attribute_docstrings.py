"""Docstrings of constants and fields are understood without the names above them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
CODE = ("oaml_core", "components", "pipelines", "images", "benchmarks")
CONTINUES = frozenset(
    {"Of", "That", "Those", "Such", "At", "On", "From", "By", "As", "After", "Until", "When", "Without"}
)
"""First words by which a docstring would go on with the name above it."""


def attribute_docstrings(code: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each string that stands below an assignment."""
    for node in ast.walk(ast.parse(code)):
        body = getattr(node, "body", None)
        for before, after in pairwise(body if isinstance(body, list) else ()):
            if not isinstance(before, ast.Assign | ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                yield after.lineno, after.value.value


@pytest.mark.parametrize("top", CODE)
def test_no_docstring_of_an_attribute_goes_on_with_its_name(top: str) -> None:
    found = [
        f"{path.relative_to(REPO)}:{line}: {text}"
        for path in sorted((REPO / top).rglob("*.py"))
        for line, text in attribute_docstrings(path.read_text(encoding="utf-8"))
        if text.split()[0] in CONTINUES
    ]
    assert not found, "Name the thing first, as in 'Learning rate of Adam': " + "; ".join(found)


def test_a_docstring_that_goes_on_with_its_name_is_found() -> None:
    assert list(attribute_docstrings('RATE = 1e-3\n"""Of Adam."""\n')) == [(2, "Of Adam.")]
