"""What nights without news say, and who hears of a model that was refused."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.config import Config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def promote(config: Config, folder: Path, name: str, accuracy: float) -> stages.Promoted:
    return stages.promote(config, name, write_evaluation(folder / name, {"lfw": {"clean": accuracy}}))


def test_a_refused_model_is_told_once_and_later_nights_say_that_nothing_is_new(
    config: Config, told: list[str], tmp_path: Path
) -> None:
    first = promote(config, tmp_path, "first", 0.95)
    assert told == []
    refused = promote(config, tmp_path, "worse", 0.85)
    (message,) = told
    assert first.version in message
    assert refused.version in message
    assert refused.reason in message
    assert message.startswith(f"OAML, {config.name} {datetime.now(UTC):%Y-%m-%d}: ")
    again = promote(config, tmp_path, "worse", 0.85)
    assert not again.promoted
    assert again.reason.startswith("nothing new since 20")
    assert again.reason.endswith(refused.reason)
    assert len(told) == 1


def test_a_night_with_the_data_and_configuration_of_the_champion_says_so(
    config: Config, told: list[str], tmp_path: Path
) -> None:
    first = promote(config, tmp_path, "first", 0.95)
    again = promote(config, tmp_path, "first", 0.95)
    assert again == stages.Promoted(
        first.version, True, "nothing new: this data and configuration gave the model that is in production"
    )
    assert told == []


def test_a_promotion_whose_run_was_killed_at_once_is_on_record_as_one(
    config: Config, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(config, tmp_path, "first", 0.90)
    stages.end_night(config, False)
    time.sleep(1.1)  # decisions are dated to the second

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("oaml_core.stages.promote_stage.note_decision", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(config, tmp_path, "better", 0.95)
    assert promote(config, tmp_path, "better", 0.95).reason.startswith("nothing new")
    night = stages.end_night(config, False)
    assert (night.state, night.reason) == ("promoted", "promoted by a run that was ended before it could say so")
    promote(config, tmp_path, "better", 0.95)
    assert stages.end_night(config, False).state == "nothing new"
