"""Commands of the benchmarks: what is wrong with a path is one line, and nothing that they import has gone."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

from benchmarks.told import run
from oaml_core.errors import DataError

FOLDER = Path(__file__).parents[2] / "benchmarks"
WITHOUT_PATHS = ("figures", "load", "loading_index", "scale", "store")
"""Commands that are given no file of a user's."""
COMMANDS = sorted(
    path
    for path in FOLDER.glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and path.stem not in WITHOUT_PATHS
)


def refuses() -> None:
    raise DataError("There is no folder faces. Name another.")


def misses() -> None:
    Path("nowhere/faces.bin").read_bytes()


@pytest.mark.parametrize(
    ("main", "said"),
    [(refuses, "There is no folder faces. Name another."), (misses, "nowhere/faces.bin: No such file or directory.")],
)
def test_what_is_refused_is_one_line(main, said):
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert str(ended.value.code).startswith(said)
    assert "\n" not in str(ended.value.code)


def test_a_code_of_its_own_is_kept():
    for code in (None, 0, 3):
        with pytest.raises(SystemExit) as ended:
            run(lambda code=code: code)
        assert ended.value.code == (code or 0)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_ends_so(path):
    assert path.read_text(encoding="utf-8").endswith('if __name__ == "__main__":\n    run(main)\n')


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_takes_from_oaml_is_there(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "oaml_core":
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}"), name.name
