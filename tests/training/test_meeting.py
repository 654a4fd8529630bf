"""The folder of a meeting holds all temporary files, and goes with them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from oaml_core.held_folder import HOLDER
from oaml_core.processes import holder_name
from oaml_core.training.meeting import PREFIX, meeting_folder, temporary_environment


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def left_by(folder: Path, name: str, holder: str) -> Path:
    """A meeting's folder as a killed launcher leaves it."""
    left = folder / f"{PREFIX}{name}"
    (left / "tmp" / "torchelastic_x").mkdir(parents=True)
    (left / HOLDER).write_text(holder)
    return left


def test_the_folder_goes_with_all_that_workers_put_there(temporary: Path) -> None:
    with meeting_folder() as folder:
        place = Path(temporary_environment(folder)["TMPDIR"]) if len(str(folder)) < 60 else folder
        (place / "pymp-x").mkdir()
    assert list(temporary.iterdir()) == []


def test_folders_of_killed_launchers_go_and_those_of_others_stay(temporary: Path) -> None:
    own = holder_name()
    here, _, started = own.rpartition("/")
    ended = left_by(temporary, "ended", f"{here}/{int(started) - 1}")  # the number was another process' before
    at_work = left_by(temporary, "at-work", own)
    elsewhere = left_by(temporary, "elsewhere", "node-7, process 1, since 2026-01-01 00:00:00 UTC, node-7-boot-x/1/1")
    with meeting_folder() as folder:
        assert {*temporary.iterdir()} == {folder, at_work, elsewhere}
        assert not ended.exists()


def test_temporary_files_stay_where_sockets_would_have_too_long_names() -> None:
    assert temporary_environment(Path("/") / ("x" * 100)) == {}


def test_compiled_kernels_outlive_the_meeting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        variables = temporary_environment(Path(name))
        assert Path(variables["TMPDIR"]).parent == Path(name)
        assert not Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(name)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", os.devnull)
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        assert "TORCHINDUCTOR_CACHE_DIR" not in temporary_environment(Path(name))


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "large"])
def test_what_others_leave_under_such_a_name_stays_and_holds_nobody_up(kind: str, temporary: Path) -> None:
    """The folder for temporary files is everybody's: a FIFO there would have a reader wait for ever."""
    holder = temporary / f"{PREFIX}odd" / HOLDER
    holder.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(holder)
    elif kind == "link":
        holder.symlink_to("/dev/zero")
    elif kind == "folder":
        holder.mkdir()
    else:
        holder.write_bytes(b"x" * 10_000)
    with meeting_folder() as folder:
        assert folder.is_dir()
    assert holder.parent.is_dir()
