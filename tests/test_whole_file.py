"""Files appear whole, and nothing is left where that does not come to its end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from full_disk import full_disk

import oaml_core
from oaml_core.errors import ConfigError
from oaml_core.whole_file import check_results_folder, written_whole

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
PASSING = ("partial", "card")
"""Names of files that are renamed, or go into the store as a whole."""


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


def written_in_place(node: ast.AST) -> bool:
    """Return True for `path.write_text(…)` and `path.write_bytes(…)` of anything but a file that is renamed later."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    passing = isinstance(owner, ast.Name) and owner.id in PASSING
    return node.func.attr in ("write_text", "write_bytes") and not passing


@pytest.mark.parametrize("part", ["cli", "evaluation", "stages/own_faces.py"])
def test_what_a_command_is_asked_for_appears_whole(part: str) -> None:
    place = PACKAGE / part
    found = [
        path.relative_to(PACKAGE).as_posix()
        for path in ([place] if place.is_file() else place.rglob("*.py"))
        if any(map(written_in_place, ast.walk(ast.parse(path.read_text()))))
    ]
    assert found == [], "use written_whole"


@pytest.mark.parametrize("absent", ["", "runs/covered"])
def test_a_folder_for_results_is_looked_at_and_left_as_it_is(absent: str, tmp_path: Path) -> None:
    check_results_folder(tmp_path / absent, "--out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "further/down"])
def test_a_file_where_results_are_wanted_is_named_with_the_option(below: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"--out .*notes\.txt is a file\. Name a folder that can be written"):
        check_results_folder(tmp_path / "notes.txt" / below, "--out")
