"""The examples of docs/library.md, run in the order of the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def test_every_example_runs(
    examples_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(examples_folder)
    names: dict[str, object] = {}
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(examples) >= 6
    for example in examples:
        exec(compile(example, "docs/library.md", "exec"), names)
    assert "person_b" in capsys.readouterr().out
