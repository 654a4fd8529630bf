"""What lies in folders that others filled: each kind of entry, in each reader of such folders."""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from folder_readers import FORGED, KINDS, READERS, filled

from oaml_core.data.sources.base import LocalFolder
from oaml_core.errors import DataError
from oaml_core.folder_entries import (
    HIDDEN,
    NoRegularFile,
    files_below,
    forges_lines,
    open_regular,
    read_regular,
    regular_files,
    shown,
)

PACKAGE = Path(__file__).parents[1] / "oaml_core"
LISTING = {"walk", "scandir", "listdir", "rglob", "glob", "iterdir"}
OWN_FILES = {
    "folder_entries.py": "the reader itself",
    "training/keeper.py": "checkpoints of the run that keeps them",
    "embedded_s3.py": "what the embedded server left behind",
    "recipe_files.py": "the recipes of the package",
    "data/prepare/outbox.py": "parts that this run writes",
    "data/prepared/part_filler.py": "temporary files of a data set's parts",
    "store/folder.py": "the store's own folders, to remove those without objects",
    "stages/local_runs.py": "stores of the demo that OAML made below work_dir",
    "store/cache.py": "local copies of data sets that OAML wrote",
    "store/partial_file.py": "parts of a download that OAML wrote",
    "store/traffic.py": "counts of the processes that it metered",
    "held_folder.py": "temporary folders of processes that have ended",
}
"""Modules that list folders themselves, and whose files those are."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_odd_entries_are_passed_over_and_told_in_one_line(
    reader: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = READERS[reader]
    folder = filled(tmp_path, chosen)
    odd = (folder / chosen.places[0]).with_stem("odd")
    KINDS[kind](odd, tmp_path / "outside", chosen.content())
    with caplog.at_level(logging.INFO):
        used, told = chosen.read(folder, tmp_path / "out")
    first = Path(chosen.places[0])
    if kind in FORGED and (chosen.any_name or reader == "image list"):
        return
    beside = {name for name in used if Path(name).parent == first.parent}
    assert beside == {first.as_posix()}
    told += caplog.text
    if reader not in ("store list",):
        assert "odd" in told or "WARNING all is well" in told or "\\xff" in told or "\\x1b" in told
    assert not any(line.startswith("2026 WARNING all is well") for line in told.splitlines())
    assert told.replace("\n", "").isprintable()


@pytest.mark.parametrize("reader", READERS)
def test_links_lead_where_the_reader_allows(reader: str, tmp_path: Path) -> None:
    chosen = READERS[reader]
    folder = filled(tmp_path, chosen)
    first = folder / chosen.places[0]
    (tmp_path / "outside" / first.name).write_bytes(chosen.content())
    (folder / "round").symlink_to(folder)
    (first.parent / "round_up").symlink_to("/")
    (first.parent / "round").symlink_to(folder) if first.parent != folder else None
    first.with_stem("odd").symlink_to(tmp_path / "outside" / first.name)
    used, _ = chosen.read(folder, tmp_path / "out")
    odd = first.with_stem("odd").relative_to(folder).as_posix()
    assert (odd in used) == chosen.leaves
    assert not any("round" in name for name in used)


@cache
def parsed() -> dict[str, ast.Module]:
    paths = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
    words = (*LISTING, "files_below", "regular_files")
    return {name: ast.parse(text) for name, text in paths.items() if any(word in text for word in words)}


def modules_that(predicate: Callable[[ast.AST], bool]) -> set[str]:
    return {name for name, tree in parsed().items() if any(map(predicate, ast.walk(tree)))}


def test_no_other_module_lists_folders() -> None:
    listing = modules_that(
        lambda node: isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LISTING
    )
    assert listing <= set(OWN_FILES), "use oaml_core.folder_entries, or say here whose files they are"


def test_every_reader_of_folders_is_in_the_table() -> None:
    readers = modules_that(lambda node: isinstance(node, ast.Name) and node.id in ("files_below", "regular_files")) - {
        "folder_entries.py"
    }
    assert readers == {
        "data/sources/listing.py",
        "store/base.py",
        "store/folder.py",
        "photos/collection.py",
        "inference/identify.py",
        "restoration/apply.py",
        "restoration/tiles.py",
        "forgetting/person.py",
        "forgetting/trees.py",
        "data/augment/cutouts.py",
        "data/prepared/niqab.py",
        "evaluation/covered/faces.py",
        "evaluation/templates/lists.py",
    }, "add the reader to READERS, then here"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a\nb", "a\\nb"),
        ("a\u2028b", "a\\u2028b"),
        ("\x1b[31m", "\\x1b[31m"),
        (os.fsdecode(b"\xff.png"), "\\xff.png"),
        ("a\u202egnp.exe", "a\\u202egnp.exe"),
        ("an\u200bna", "an\\u200bna"),
        ("anna\u3164", "anna\\u3164"),
        ("علی\u200cرضا", "علی\u200cرضا"),
        ("José\u00a0María", "José\u00a0María"),
    ],
)
def test_names_are_shown_without_what_forges_lines(name: str, expected: str) -> None:
    assert shown(name) == expected


def test_joiners_and_wide_blanks_do_not_forge_lines() -> None:
    assert not forges_lines("علی\u200cرضا")
    assert not forges_lines("José\u00a0María")
    assert forges_lines("a\rb")


@pytest.mark.parametrize("kind", ["FIFO", "socket", "link to a device"])
def test_what_is_no_regular_file_is_not_opened(kind: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path / "odd", tmp_path, b"")
    with pytest.raises(OSError, match="odd"):
        read_regular(tmp_path / "odd")


def test_folders_and_impossible_names_are_named(tmp_path: Path) -> None:
    with pytest.raises(NoRegularFile, match="folder"):
        open_regular(tmp_path)
    with pytest.raises(OSError, match="null"):
        read_regular(Path("a\0b"))


def test_branching_links_end(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / str(number)).mkdir()
        for other in range(8):
            (tmp_path / str(number) / f"to{other}").symlink_to(tmp_path / str(other))
    (tmp_path / "0" / "a.png").write_bytes(b"")
    entries = list(files_below(tmp_path, leave=True))
    assert len(entries) < 2_000
    assert any(entry.reason for entry in entries)


def test_endings_choose_and_hidden_files_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.PNG", "b.txt", ".c.png"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in regular_files(tmp_path, {".png"})] == ["a.PNG"]
    assert not caplog.text
    assert [entry.reason for entry in files_below(tmp_path, leave=True)] == [HIDDEN, None, None]


def test_local_folders_refuse_fifos_that_came_later(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    os.mkfifo(tmp_path / "late.png")
    for read in (lambda: folder.read("late.png"), lambda: folder.read_range("late.png", 0, 4)):
        with pytest.raises(DataError, match="FIFO"):
            read()
    assert folder.sha256("late.png") == ""
