"""Budgets of nights: what is refused, and what people are told."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spent import NOVEMBER, limited, put

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, NightlyConfig
from oaml_core.errors import ConfigError, DataError, OverBudget, StoreError
from oaml_core.stages.budget import month_begins, refuse_night
from oaml_core.stages.cost_records import Cost
from oaml_core.stages.costs import costing
from oaml_core.stages.night_records import past_nights
from oaml_core.stages.present_night import night_began, note_beginning
from oaml_core.store import open_store

pytestmark = pytest.mark.usefixtures("in_pipeline")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("most_gpu_hours_per_night", -1.0, "nightly.most_gpu_hours_per_night is -1.0; it must be 0 or more"),
        ("most_core_hours_per_month", -0.5, "nightly.most_core_hours_per_month is -0.5"),
        ("most_gpu_hours_per_month", float("nan"), "nightly.most_gpu_hours_per_month is nan"),
    ],
)
def test_budgets_that_cannot_be_are_refused(key: str, value: float, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        Config(nightly=NightlyConfig(**{key: value}))


def test_a_night_may_not_have_more_than_a_month() -> None:
    with pytest.raises(ConfigError, match=r"per_night is 5, more than nightly.most_core_hours_per_month, 4"):
        Config(nightly=NightlyConfig(most_core_hours_per_night=5, most_core_hours_per_month=4))
    Config(nightly=NightlyConfig(most_core_hours_per_night=5))


def test_no_night_begins_when_the_month_is_spent_and_the_next_month_begins_anew(config: Config) -> None:
    config = limited(config, gpu_hours_per_month=10)
    put(config, 4, NOVEMBER - timedelta(days=3))
    put(config, 5.5, NOVEMBER - timedelta(days=2))
    put(config, 90, NOVEMBER - timedelta(days=30))
    refuse_night(config, [], NOVEMBER)
    put(config, 0.5, NOVEMBER - timedelta(days=1))
    with pytest.raises(
        OverBudget, match=r"10 GPU-hours are spent this month.*_month is 10.*after 2026-12-01 00:00 UTC"
    ):
        refuse_night(config, [], NOVEMBER)
    refuse_night(config, [], month_begins(NOVEMBER, 1))


def test_no_night_begins_with_less_than_the_last_ones_needed(config: Config) -> None:
    config = limited(config, gpu_hours_per_month=10)
    put(config, 7, NOVEMBER - timedelta(days=3))
    costs = [Cost(gpu_hours=hours) for hours in (50, 1, 2, 4, 4, 4, 9, 9)]
    with pytest.raises(OverBudget, match=r"3 of nightly.*_month 10 are left this month.*last 7 nights needed 4"):
        refuse_night(config, costs, NOVEMBER)
    refuse_night(config, costs[:4], NOVEMBER)
    refuse_night(limited(config, gpu_hours_per_night=3), costs, NOVEMBER)


def test_a_refused_night_is_on_record_and_told_and_is_no_failure(config: Config, told: list[str]) -> None:
    config = limited(config, gpu_hours_per_month=1)
    config = replace(config, nightly=replace(config.nightly, stop_after_failures=1))
    put(config, 1)
    for _ in range(2):
        with pytest.raises(OverBudget, match="no night begins"), stages.keeping_trouble(config, "preprocess"):
            stages.prepare_night(config)
        night = stages.end_night(config, True, "Task steps failed.")
        assert night.state == "over budget"
        assert night.reason.startswith("preprocess: 1 GPU-hours are spent this month")
        assert night.cost == Cost()
    assert "the night was ended by its budget: preprocess: 1 GPU-hours are spent" in told[1]
    status = stages.night_status(config, 26)
    assert not status.is_well
    assert "no night begins" in " ".join(status.lines)


def test_nights_that_failed_stop_others_whatever_the_budget_says_between_them(config: Config, told: list[str]) -> None:
    config = replace(config, nightly=NightlyConfig(stop_after_failures=2))
    for error in (DataError("broken"), OverBudget("spent"), DataError("broken")):
        stages.begin_night(config)
        with pytest.raises(type(error)), stages.keeping_trouble(config, "train"):
            raise error
        stages.end_night(config, True)
    with pytest.raises(Exception, match="The last 2 nights failed"):
        stages.begin_night(config)


def test_a_night_is_judged_by_what_nights_with_a_model_have_cost(config: Config, told: list[str]) -> None:
    config = limited(config, gpu_hours_per_month=10)
    for hours, decision in ((4.0, "a"), (0.1, "")):
        stages.begin_night(config)
        put(config, hours)
        if decision:
            content = {"version": decision, "when": "now", "promoted": True, "reason": "better"}
            open_store(config.store).write_bytes("models/decisions.json", json.dumps([content]).encode())
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("oaml_core.stages.nights.last_decision", lambda _, content=content: content)
                night = stages.end_night(config, False)
        else:
            night = stages.end_night(config, False)
        assert night.cost.gpu_hours == pytest.approx(hours)
    assert [each.state for each in past_nights(open_store(config.store), config)] == ["promoted", "nothing new"]
    put(config, 3)
    with pytest.raises(OverBudget, match=r"2.9 of .* are left this month, and the last 1 night needed 4"):
        stages.begin_night(config)


def test_a_night_that_was_killed_does_not_lend_its_beginning_to_the_next(config: Config) -> None:
    note_beginning(config, (), NOVEMBER)
    note_beginning(config, (), NOVEMBER + timedelta(hours=11))
    assert night_began(config) == NOVEMBER, "a step that is tried again is the same night"
    note_beginning(config, (), NOVEMBER + timedelta(hours=13))
    assert night_began(config) == NOVEMBER + timedelta(hours=13)
    note_beginning(config, (), NOVEMBER)
    assert night_began(config) == NOVEMBER, "a clock that went wrong"


@pytest.mark.parametrize("content", [b"", b"[]", b'{"began": 3}', b'{"began": "yesterday"}'])
def test_a_damaged_beginning_is_named_and_the_next_night_writes_it_anew(config: Config, content: bytes) -> None:
    path = Path(config.store) / "nights/night/begun.json"
    open_store(config.store).write_bytes("nights/night/begun.json", b"{}")
    path.write_bytes(content)
    with (
        pytest.raises(StoreError, match=r"begun.json is damaged.*Delete it"),
        costing(limited(config, gpu_hours_per_night=1), "train"),
    ):
        pytest.fail("it is not begun")
    stages.begin_night(config)
    assert night_began(config)


def test_status_shows_what_is_spent_and_left(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    put(config, 4, datetime.now(UTC) - timedelta(milliseconds=5))
    time.sleep(0.01)
    stages.begin_night(config)
    put(config, 1)
    options = ["--nightly.most_gpu_hours_per_night", "2", "--nightly.most_gpu_hours_per_month", "20"]
    with pytest.raises(SystemExit):
        main(["nightly", "status", "--store", config.store, "--name", "night", *options])
    shown = capsys.readouterr().out
    assert re.search(r"^the night that began on .*: 1\.00 GPU-hours, .*; 1\.00 of 2 GPU-hours are left$", shown, re.M)
    month = f"{datetime.now(UTC):%B %Y}"
    assert re.search(rf"^{month} \(UTC\): 5\.00 GPU-hours, .*; 15\.00 of 20 GPU-hours are left$", shown, re.M)
