"""The service's page in a headless browser, for the tests that click in it."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from service_client import png

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; see the extra dev")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60_000
"""Milliseconds: a busy machine is slow, a page that never answers fails."""


def upload(name: str, image: np.ndarray) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": png(image)}


def enrol(page: Any, name: str, image: np.ndarray, *, keep: bool = False) -> None:
    page.get_by_label("Name", exact=True).first.fill(name)
    page.locator("#enrol-photo").set_input_files(upload("face.png", image))
    page.locator("#enrol").get_by_label("keep the aligned face").set_checked(keep)
    page.get_by_role("button", name="Add this face").click()
    playwright.expect(page.locator("#people-said")).to_contain_text("was added")


def names(page: Any) -> list[str]:
    found: list[str] = page.locator("#people > li b").all_text_contents()
    return found
