"""Files appear whole, and nothing is left where that does not come to its end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from full_disk import full_disk

import oaml_core
from oaml_core.whole_file import written_whole

PACKAGE = Path(oaml_core.__file__).parent
OWN_WAYS = {
    "data/prepare/prepare.py": "a folder",
    "data/prepared/fetched_files.py": "what a store gives, when its digest is proved",
    "data/prepared/memfile.py": "two files, one after the other",
    "data/batches/shared_arrays.py": "a file of `mkstemp`, for this node's workers alone",
    "store/cache.py": "a folder",
    "store/folder.py": "an object and its digest",
    "store/partial_file.py": "a file that is fetched on with",
    "training/checkpoints.py": "names of checkpoints",
    "training/stored_checkpoints.py": "a file that a store gives",
    "training/worker.py": "a run's result",
    "training/best.py": "a checkpoint that a store gives",
}
"""Modules that rename files themselves, and which."""


def test_a_file_is_the_former_one_until_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("former")
    with written_whole(path) as new:
        new.write_text("begun")
        assert path.read_text() == "former"
    assert path.read_text() == "begun"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", ["an error", "a full disk"])
def test_nothing_is_left_of_a_file_that_is_not_whole(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("former")

    def write() -> None:
        with written_whole(path) as new:
            new.write_text("x" * 10_000)
            raise KeyError(fault)

    with full_disk(1_000 if fault == "a full disk" else 1 << 20), pytest.raises((OSError, KeyError)):
        write()
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]


def renames(node: ast.AST) -> bool:
    """Return True for `os.replace(…)` and `path.replace(other)`; `replace` of text takes two arguments."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "replace":
        return False
    owner = node.func.value
    return (isinstance(owner, ast.Name) and owner.id == "os") or (len(node.args) == 1 and not node.keywords)


def test_no_other_module_renames_what_it_writes() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(map(renames, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == {*OWN_WAYS}, "use written_whole, or say here why not"
