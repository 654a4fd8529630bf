"""The S3 server of demos and tests: it ends with its block or its process, and says why it does not start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from test_s3_server import server_process

from oaml_core.embedded_s3 import embedded_s3
from oaml_core.errors import StoreError


def test_the_server_ends_with_its_block_and_its_credentials_are_on_no_command_line(tmp_path: Path) -> None:
    with embedded_s3(tmp_path) as variables:
        process = server_process()
        line = " ".join(process.cmdline())
        assert variables["AWS_SECRET_ACCESS_KEY"] not in line
        assert variables["AWS_ACCESS_KEY_ID"] not in line
        assert variables["OAML_S3_ENDPOINT"].startswith("http://127.0.0.1:")
    assert not process.is_running()


def test_the_server_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from oaml_core.embedded_s3 import embedded_s3\n"
        f"with embedded_s3(Path({str(tmp_path)!r})): print('up', flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    (server,) = psutil.Process(parent.pid).children()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    server.wait(timeout=10)


def test_what_a_killed_server_left_goes_after_a_while(tmp_path: Path) -> None:
    old, new = (tmp_path / "oaml" / f".rclone_temp_multipart_{name}" for name in ("old", "new"))
    for path in (old, new):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"part")
    os.utime(old, (0, 0))
    with embedded_s3(tmp_path):
        assert new.exists()
        assert not old.exists()


def test_a_server_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "rclone"
    broken.write_text("#!/bin/sh\necho this machine has no loopback >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(StoreError, match="this machine has no loopback"), embedded_s3(tmp_path / "s3"):
        pass


def test_a_missing_rclone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match="rclone is not installed"), embedded_s3(tmp_path):
        pass
