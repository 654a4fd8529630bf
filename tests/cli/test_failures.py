"""Errors that no check foresaw reach the user as one line, and the traceback as a file."""

from __future__ import annotations

import errno
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from full_disk import full_disk

from oaml_core.cli import main
from oaml_core.cli.command import Command
from oaml_core.cli.failures import keep_traceback
from oaml_core.cli.program import COMMANDS

FORESEEN = "OAML did not foresee this"


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    def run(*_: object) -> int:
        raise error

    monkeypatch.setitem(COMMANDS, "doctor", Command("fails", run))
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "faces/a.jpg"), "faces/a.jpg"),
        (PermissionError(errno.EACCES, "Permission denied", "out/report.html"), "permissions"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "x"), "quota"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "model"), "a file is wanted"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Is the server running"),
        (ValueError("operands could not be broadcast together with shapes (3,) (4,)"), FORESEEN),
        (MemoryError(), "data.batch_size"),
        (KeyError("train"), FORESEEN),
        (ZeroDivisionError(), FORESEEN),
    ],
)
def test_an_error_is_one_line_and_its_traceback_a_file(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert fails_with(error, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert told in shown
    assert "Traceback (most" not in shown
    kept = re.search(r"The traceback is in (\S+);", shown)
    assert kept is not None
    assert type(error).__name__ in Path(kept[1]).read_text()


def test_disks_that_are_all_full_are_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    with full_disk(0), pytest.raises(FileNotFoundError) as raised:
        tempfile.gettempdir()
    with full_disk(0):
        assert fails_with(raised.value, monkeypatch) == 1
    shown = capsys.readouterr().err
    assert "TMPDIR" in shown
    assert "Traceback" not in shown


def fill(known: Path, limit: str) -> int:
    """Write more than 100 kB into a database under a limit."""
    with closing(sqlite3.connect(known)) as database:
        database.execute(limit)
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    return 0


@pytest.mark.parametrize(
    ("place", "limit", "remedy"),
    [
        ("checksums.sqlite", "PRAGMA max_page_count = 2", "disk is full"),
        ("checksums.sqlite", "PRAGMA query_only = 1", "read-only disk"),
        ("none/checksums.sqlite", "", "Permission is denied"),
    ],
)
def test_a_database_that_cannot_be_written_is_named_with_a_remedy(
    place: str,
    limit: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(COMMANDS, "doctor", Command("fails", lambda *_: fill(tmp_path / place, limit)))
    with pytest.raises(SystemExit):
        main(["doctor"])
    told = capsys.readouterr().err
    assert remedy in told
    assert f"{place}: " in told
    assert FORESEEN not in told


@pytest.mark.parametrize("number", [errno.EFBIG, errno.ENOSPC, errno.EIO])
def test_a_file_that_cannot_be_written_is_named(
    number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A write that fails does not say of which file."""

    def write(*_: object) -> int:
        with (tmp_path / "scores.npz").open("wb") as file:
            file.write(b"")
            raise OSError(number, "it fails")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(COMMANDS, "doctor", Command("fails", write))
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert "scores.npz: it fails. " in capsys.readouterr().err


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails_with(ValueError("broken"), monkeypatch, "--debug") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_full_temporary_disk_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert fails_with(ValueError("broken"), monkeypatch) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("check nowhere", "nowhere"),
        ("evaluate --checkpoint nowhere.ckpt --data nowhere", "nowhere"),
        ("match nowhere.jpg other.jpg --onnx nowhere.onnx", "nowhere"),
        ("compare nowhere.json other.json", "scores.npz"),
    ],
)
def test_paths_that_lead_nowhere_are_named(
    line: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code in (1, 2)
    shown = capsys.readouterr().err
    assert named in shown
    assert FORESEEN not in shown


def too_large_a_database(folder: Path) -> sqlite3.Error:
    with full_disk(0), closing(sqlite3.connect(folder / "database")) as database:
        with pytest.raises(sqlite3.Error) as told:
            database.execute("CREATE TABLE numbers (number INTEGER)")
        return told.value


@pytest.mark.parametrize("kind", ["of the system", "of a database"])
def test_a_full_disk_keeps_no_empty_traceback(
    kind: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = OSError(errno.EFBIG, "File too large")
    error = system if kind == "of the system" else too_large_a_database(tmp_path_factory.mktemp("database"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with full_disk(0):
        said = keep_traceback(error)
    assert said == "The traceback cannot be kept; --debug shows it."
    assert list(tmp_path.iterdir()) == []
