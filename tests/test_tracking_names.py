"""What Weights & Biases calls a run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oaml_core.config import Config, TrackingConfig
from oaml_core.tracking import Tracker

CONFIG = Config(name="night", tracking=TrackingConfig(wandb="offline"))


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What runs are begun with, instead of beginning them."""
    calls: list[dict[str, Any]] = []

    def init(**options: Any) -> SimpleNamespace:
        calls.append(options)
        return SimpleNamespace(finish=lambda: None)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict))
    return calls


def test_a_run_is_named_with_the_date_of_its_beginning(tmp_path: Path, begun: list[dict[str, Any]]) -> None:
    first = Tracker(CONFIG, tmp_path)
    first.close()
    Tracker(CONFIG, tmp_path / "another node", run_id=first.run_id).close()
    assert [each["name"] for each in begun] == [f"night {datetime.now(UTC):%Y-%m-%d}"] * 2
    assert begun[0]["id"] == begun[1]["id"] == first.run_id


def test_a_run_that_goes_on_the_next_day_keeps_its_name(tmp_path: Path, begun: list[dict[str, Any]]) -> None:
    Tracker(CONFIG, tmp_path, run_id="2026-01-31-0123abcd").close()
    Tracker(CONFIG, tmp_path, run_id="0123abcd").close()  # an id of the time before dates
    assert [each["name"] for each in begun] == ["night 2026-01-31", "night"]
