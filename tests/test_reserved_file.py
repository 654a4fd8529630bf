"""Files that are mapped to be written have their room on the disk before: else a full disk ends the process."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from full_disk import full_disk

import oaml_core
from oaml_core.reserved_file import reserve
from oaml_core.store import open_store
from oaml_core.store.traffic import FOLDER, metered

PACKAGE = Path(oaml_core.__file__).parent
SIZE = 1 << 20


def test_all_bytes_have_room_and_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "map"
    path.write_bytes(b"begins so")
    os.truncate(path, SIZE)
    assert path.stat().st_blocks * 512 < SIZE
    reserve(path, SIZE)
    assert path.stat().st_blocks * 512 >= SIZE
    assert path.read_bytes() == b"begins so".ljust(SIZE, b"\0")
    reserve(path, 10)
    assert path.stat().st_size == SIZE


def test_a_full_disk_is_told_by_the_name_of_the_file(tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(OSError, match=f"{tmp_path}/map") as told:
        reserve(tmp_path / "map", SIZE)
    assert told.value.errno


def test_counts_of_requests_that_a_full_disk_does_not_take_stop_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    with metered() as so_far:
        Path(os.environ[FOLDER], "killed-before-it-had-room").touch()
        with full_disk(0):
            assert not store.exists("a")
        store.exists("a")
        assert so_far().requests == 1


def writes_maps(node: ast.AST) -> bool:
    """Return True for a call that makes a memory map which is not only read."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    words = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
    words |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
    return (node.func.attr == "open_memmap" or node.func.attr in ("memmap", "mmap")) and not words & {
        "r",
        "ACCESS_READ",
    }


def test_every_map_that_is_written_is_reserved() -> None:
    writing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(map(writes_maps, ast.walk(ast.parse(path.read_text()))))
    }
    assert writing == {
        "evaluation/scoring/face_store.py",
        "restoration/tile_shards.py",
        "store/traffic.py",
    }, "reserve the file's room, then name the module here"
    assert all("reserve(" in (PACKAGE / name).read_text() for name in writing)
