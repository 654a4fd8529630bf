"""An exported model, a gallery, a client and a page in a browser that the tests of the service share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from plain_model import PlainModel
from service_client import MODEL, started
from untrained import write_untrained

from oaml_core.config import Config, ModelConfig
from oaml_core.export.onnx_export import export_onnx
from oaml_core.inference.gallery.database import Gallery
from oaml_core.photos.faces import FaceFinder
from oaml_core.serve.app import create_app
from oaml_core.serve.faces import FaceService
from oaml_core.serve.keys import Keys, key_digest
from oaml_core.serve.limits import Limits
from oaml_core.serve.server import open_socket
from oaml_core.training.trained import load_trained


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained recogniser as `model.onnx`."""
    folder, config = tmp_path_factory.mktemp("model"), Config(model=ModelConfig(arch="ir_mini", width=4))
    trained = load_trained(write_untrained(config, folder / "best.ckpt"))
    faces = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3)).astype(np.uint8)
    export_onnx(trained.recogniser, folder / "model.onnx", config, faces)
    return folder / "model.onnx"


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    """Return an open gallery of `MODEL`, without people."""
    with Gallery(tmp_path / "people.gallery", MODEL.version) as opened:
        yield opened


@pytest.fixture
def client(gallery: Gallery) -> Iterator[TestClient]:
    """Return a client with the key of an administrator."""
    with started(gallery) as running:
        running.headers["X-API-Key"] = "a"
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a headless browser with a camera that shows a test picture."""
    from browser_page import CHROMIUM, PATIENCE, playwright

    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=PATIENCE)
        yield opened
        opened.close()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Return the address of a running service with a gallery, and its key."""
    model = PlainModel(thresholds={1e-2: -10.0})
    with Gallery(tmp_path / "page.gallery", model.version) as gallery:
        faces = FaceService(model, FaceFinder(aligned=True), gallery, pixels=10**6, most=3)
        keys = Keys({key_digest("k"): "admin"}, 10_000)
        listening = open_socket("127.0.0.1", 0)
        app = create_app(faces, keys, Limits(seconds=60))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/#key=k"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """Return the page, opened; it must not have written an error to the console at the end."""
    from browser_page import PATIENCE, playwright

    with browser.new_context(permissions=["camera"]) as context:
        opened = context.new_page()
        opened.set_default_timeout(PATIENCE)
        playwright.expect.set_options(timeout=PATIENCE)
        said: list[str] = []
        opened.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.goto(address)
        yield opened
        # Answers that refuse something, or do not come, are shown by the browser as errors too.
        assert [text for text in said if not text.startswith("Failed to load resource")] == []
