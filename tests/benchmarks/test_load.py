"""The load benchmark makes data that the commands take, and sums the memory of all their processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import figures
from benchmarks.load import GIB, Load, memory, run

ROOT = Path(__file__).parents[2]
TAKES = "import time; held = bytearray(b'x' * (100 << 20)); print('taken', flush=True); time.sleep(60)"


def test_memory_is_that_of_a_process_and_of_what_it_starts() -> None:
    starts = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TAKES!r}])"
    with subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        process = psutil.Process(parent.pid)
        assert 100 << 20 < memory(process) < 160 << 20
        for one in (*process.children(), process):
            one.kill()


def test_a_command_that_fails_is_shown(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 2"):
        run(tmp_path, Load(["prepare", "--no_such_option", "1"], GIB))


def test_preparing_stays_within_its_bound(tmp_path: Path) -> None:
    out = tmp_path / "load.json"
    command = [sys.executable, "-m", "benchmarks.load", "prepare", "--count", "400", "--folder", str(tmp_path)]
    subprocess.run([*command, "--out", str(out)], cwd=ROOT, check=True, capture_output=True)
    found = figures.read(out)
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert (row["command"], row["images or people"]) == ("oaml prepare", 400)
    assert 50 < row["peak, MiB"] < row["bound, MiB"]
    assert list(tmp_path.iterdir()) == [out]
