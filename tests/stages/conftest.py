"""A night with a store of its own, in the pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oaml_core.config import Config
from oaml_core.stages.present_night import IN_PIPELINE


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Messages that people would have got, in place of sending them."""
    messages: list[str] = []
    for module in ("nights", "promote_stage", "nightly_stage"):
        monkeypatch.setattr(f"oaml_core.stages.{module}.notify", lambda text, _: messages.append(text))
    return messages


@pytest.fixture
def in_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_PIPELINE, "1")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), name="night", store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))
