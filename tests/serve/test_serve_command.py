"""`oaml serve` as somebody types it: what it prints, what it refuses, and that it answers and ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from untrained import write_untrained

from oaml_core.cli import main
from oaml_core.config import Config, ModelConfig
from oaml_core.export.onnx_export import export_onnx
from oaml_core.training.trained import load_trained


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, config = tmp_path_factory.mktemp("model"), Config(model=ModelConfig(arch="ir_mini", width=4))
    trained = load_trained(write_untrained(config, folder / "best.ckpt"))
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    export_onnx(trained.recogniser, folder / "model.onnx", config, faces)
    return folder / "model.onnx"


def test_it_prints_an_address_with_a_key_that_works_and_ends_when_told(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oaml_core.cli", "serve", "--onnx", model, "--gallery", tmp_path / "g", "--port"]
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
            assert process.wait(120) in (0, -signal.SIGTERM)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--host", "0.0.0.0"), "--key_file FILE"),
        (("--key_file", "none"), "none cannot be read"),
        (("--workers", "0"), "--workers"),
        (("--port", "70000"), "--port 70000"),
    ],
)
def test_what_cannot_be_served_is_named(
    model: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--onnx", str(model), *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
