"""Pictures of the restoration report, in a real browser without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from oaml_core.config import RestorationConfig
from oaml_core.restoration.evaluate import evaluate_tiles
from oaml_core.restoration.report import write_restoration_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 60_000
"""Milliseconds: a busy machine is slow."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of two tiles under a prior that knows nothing but their variance."""

    def shrunk(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x * 0.25 / (0.25 + sigma.reshape(-1, 1, 1, 1) ** 2)

    tiles = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = evaluate_tiles(shrunk, tiles, RestorationConfig(steps=2, samples=2))
    folder = tmp_path_factory.mktemp("report")
    write_restoration_report(found, folder / "r.html", folder / "r.json", {"prior": "none"}, "tiny: restoration")
    return folder / "r.html"


def test_every_condition_has_measured_restored_uncertainty_and_truth(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count('type="range"') == 8
    assert text.count("<img ") == 4 * 8
    assert {name for name in ("light", "medium", "dark", "covered") if f"<h3>{name}</h3>" in text} == {
        *("light", "medium", "dark", "covered")
    }
    assert "http://" not in text.replace("http://www.w3.org/", "")
    assert "https://" not in text


@pytest.fixture
def opened(page: Path) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; see the extra dev")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE)
        view = browser.new_page(viewport={"width": 360, "height": 800}, offline=True)
        view.goto(page.as_uri(), timeout=PATIENCE)
        yield view
        browser.close()


def test_the_arrow_keys_move_the_edge_and_a_phone_shows_all_of_it(opened: Any) -> None:
    slider = opened.locator(".compared input").first
    cover = opened.locator(".compared .over").first

    def seen() -> str:
        return str(cover.evaluate("node => getComputedStyle(node).clipPath"))

    before = seen()
    slider.focus()
    slider.press("ArrowRight")
    after = seen()
    slider.press("Home")
    assert len({before, after, seen()}) == 3
    assert opened.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert "shown as measured" in str(slider.get_attribute("aria-label"))
