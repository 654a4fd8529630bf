"""`oaml serve` as somebody types it: what it prints, what it refuses, and that it answers and ends."""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from oaml_core.cli import main
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.onnx_model import OamlOnnx


def test_it_prints_an_address_with_a_key_that_works_and_ends_when_told(exported: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "oaml_core.cli",
        "serve",
        "--onnx",
        exported,
        "--gallery",
        tmp_path / "g",
        "--port",
    ]
    with subprocess.Popen([*command, "0"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            address, _, key = process.stdout.readline().strip().partition("#key=")
            assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*/", address)
            asked = urllib.request.Request(f"{address}api/v1/gallery/people", headers={"X-API-Key": key})
            assert json.load(urllib.request.urlopen(asked, timeout=60)) == []
            process.send_signal(signal.SIGTERM)
            # The signal is raised again once all requests are answered.
            assert process.wait(120) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), "--key_file FILE"),
        (("--key_file", "none"), "none cannot be read"),
        (("--workers", "0"), "--workers"),
        (("--workers", "x"), "workers takes a whole number, not x."),
        (("--try_share", "x"), "try_share takes a number, not x."),
        (("--port", "70000"), "--port 70000"),
    ],
)
def test_what_cannot_be_served_is_named(
    exported: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--onnx", str(exported), *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_gallery_with_another_key_is_refused_at_the_start(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    monkeypatch.setenv("OAML_GALLERY_KEY", first)
    Gallery(tmp_path / "people.gallery", OamlOnnx(exported).version).close()
    monkeypatch.setenv("OAML_GALLERY_KEY", second)
    words = ["serve", "--onnx", str(exported), "--gallery", str(tmp_path / "people.gallery"), "--port", "0"]
    with pytest.raises(SystemExit, match="1"):
        main(words)
    assert "encrypted with another key" in capsys.readouterr().err
