"""Nights that are killed, whose records are lost or damaged, or whose clock is wrong: the next one ends well, and
people are told."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spent import limited, put

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, NightlyConfig
from oaml_core.errors import DataError, NotBegun, OverBudget, StoreError
from oaml_core.stages.budget import Budget
from oaml_core.stages.night_guards import lacking_space
from oaml_core.stages.night_records import Night, past_nights
from oaml_core.stages.nights import resume_nights
from oaml_core.stages.present_night import IN_PIPELINE, night_began
from oaml_core.store import open_store
from oaml_core.store.base import ObjectInfo
from oaml_core.store.folder import FolderStore

pytestmark = pytest.mark.usefixtures("in_pipeline")


def stamp(when: datetime) -> str:
    return when.isoformat(timespec="microseconds")


def put_night(config: Config, ended: datetime, state: str = "failed", reason: str = "train: no memory") -> str:
    """Put the record of a night that ended then into the store; its key."""
    key = f"nights/{config.name}/{stamp(ended).replace(':', '')}.json"
    night = Night(stamp(ended), state, reason)  # type: ignore[arg-type]
    open_store(config.store).write_bytes(key, json.dumps(asdict(night)).encode())
    return key


def begun(config: Config, when: datetime) -> None:
    content = {"began": stamp(when)}
    open_store(config.store).write_bytes(f"nights/{config.name}/begun.json", json.dumps(content).encode())


def ago(**time: float) -> datetime:
    return datetime.now(UTC) - timedelta(**time)


def on_record(config: Config) -> list[tuple[str, str]]:
    return [(night.state, night.reason) for night in past_nights(open_store(config.store), config)]


def status_of(config: Config, *words: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["nightly", "status", "--store", config.store, "--name", config.name, *words])
    return left.value.code


@pytest.mark.parametrize("error", [StoreError("the server is away"), OSError(28, "No space left on device")])
def test_people_are_told_of_a_night_whose_record_cannot_be_written(
    config: Config, told: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    stages.begin_night(config)
    with pytest.raises(DataError), stages.keeping_trouble(config, "train"):
        raise DataError("the disk is full")

    def away(*_: object) -> None:
        raise error

    monkeypatch.setattr(FolderStore, "write_bytes", away)
    with pytest.raises(type(error)):
        stages.end_night(config, True, "Task steps failed.")
    assert f"the night failed: train: the disk is full. Its record cannot be kept: {error}" in told[0]
    with pytest.raises(type(error)):
        stages.end_night(config, False)
    assert "it ended well. Its record cannot be kept" in told[1]


def test_the_watching_job_is_not_silent_where_it_cannot_see(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    monkeypatch.setattr("oaml_core.notify.notify", lambda text, _: heard.append(text))

    def away(*_: object) -> None:
        raise StoreError("the server is away")

    open_store(config.store).write_bytes("nights/night/begun.json", b"{}")
    monkeypatch.setattr(FolderStore, "list", away)
    assert status_of(config) == 1
    assert heard == []
    assert status_of(config, "--tell") == 1
    assert heard == [f"OAML, night {datetime.now(UTC):%Y-%m-%d}: how nights end cannot be told: the server is away"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"ended": "x", "state": "failed", "reason": ""}', b'{"ended": 3}', None], ids=str
)
def test_a_damaged_record_of_a_past_night_is_named_and_stops_none(
    config: Config, told: list[str], content: bytes | None
) -> None:
    config = replace(config, nightly=NightlyConfig(stop_after_failures=3))
    key = put_night(config, ago(hours=48))
    if content is None:
        Path(config.store, key).write_bytes(b"not what was put")
    else:
        open_store(config.store).write_bytes(key, content)
    stages.begin_night(config)
    assert stages.end_night(config, False).state == "nothing new"
    status = stages.night_status(config, 26)
    assert not status.is_well
    assert key in status.lines[0]
    assert "Delete it: no other night needs it." in status.lines[0]


def test_a_night_that_was_killed_is_on_record_once_told_and_counted(config: Config, told: list[str]) -> None:
    config = replace(config, nightly=NightlyConfig(stop_after_failures=2))
    began = ago(hours=20)
    begun(config, began)
    put(config, 3, ago(hours=19))
    assert "never ended" not in "".join(stages.night_status(config, 26).lines)
    stages.begin_night(config)
    reason = (
        f"it began on {began:%Y-%m-%d at %H:%M} UTC and never ended: its machine went off, or its processes were killed"
    )
    assert on_record(config) == [("failed", reason)]
    assert told == [f"OAML, night {datetime.now(UTC):%Y-%m-%d}: the night failed: {reason}"]
    killed, ended = past_nights(open_store(config.store), config)[0], stages.end_night(config, False)
    assert (killed.cost.gpu_hours, ended.cost.gpu_hours) == (3, 0)
    stages.begin_night(config)
    assert len(on_record(config)) == 2

    for _ in range(2):
        begun(config, datetime.now(UTC))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("oaml_core.stages.nights.LONGEST_NIGHT", timedelta())
            patched.setattr("oaml_core.stages.present_night.LONGEST_NIGHT", timedelta())
            refused = _refused(config)
    assert "The last 2 nights failed" in refused
    assert "and never ended" in refused
    assert _refused(config).startswith("The last 2 nights failed"), "the same night is not counted again"


def _refused(config: Config) -> str:
    try:
        stages.begin_night(config)
    except NotBegun as error:
        return str(error)
    return ""


def test_a_night_that_goes_on_soon_after_it_was_killed_is_one_night(
    config: Config, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    began = ago(hours=2)
    begun(config, began)
    put(config, 2, ago(hours=1))
    stages.begin_night(config)
    assert f"the one that began on {began:%Y-%m-%d at %H:%M} UTC has not ended; this one joins it" in caplog.text
    assert stages.end_night(config, False).cost.gpu_hours == 2
    assert told == []


def test_a_long_night_that_is_at_work_is_not_taken_for_killed(config: Config, told: list[str]) -> None:
    began = ago(hours=30)
    begun(config, began)
    put(config, 3, ago(hours=29), hours=29)
    stages.begin_night(config)
    assert on_record(config) == []
    assert stages.night_status(config, 26).lines[1].endswith("has not ended: it is at work.")
    assert night_began(config) == began


@pytest.mark.parametrize(("hours", "is_wrong"), [(1, False), (13, True)])
def test_status_tells_of_a_night_that_does_not_end(config: Config, hours: int, is_wrong: bool) -> None:
    began = ago(hours=hours)
    begun(config, began)
    first = stages.night_status(config, 26)
    assert first.lines[0] == f"No run of night has ended yet in {open_store(config.store).uri}."
    put_night(config, began - timedelta(hours=1), "promoted", "better")
    status = stages.night_status(config, 26)
    said = f"The night that began on {began:%Y-%m-%d at %H:%M} UTC has not ended, and none of its steps is at work."
    assert said in first.lines
    assert said in status.lines
    assert status.is_well is not is_wrong


def test_a_clock_that_was_wrong_for_one_night_blinds_no_guard(config: Config, told: list[str]) -> None:
    config = replace(config, nightly=NightlyConfig(stop_after_failures=2))
    future = put_night(config, datetime(2090, 1, 1, tzinfo=UTC), "promoted", "better")
    begun(config, datetime(2090, 1, 1, tzinfo=UTC))
    put_night(config, ago(hours=40), "promoted", "better")
    status = stages.night_status(config, 26)
    assert not status.is_well
    assert status.lines[0].startswith("No run has ended for 40 hours")
    assert future in status.lines[1]
    assert "a night that ends in the future: a clock is wrong, or was" in status.lines[1]
    for _ in range(2):
        stages.begin_night(config)
        put(config, 1)
        assert stages.end_night(config, True, "no memory").cost.gpu_hours == 1
    with pytest.raises(NotBegun, match="The last 2 nights failed"):
        stages.begin_night(config)


def test_nights_are_resumed_though_the_last_ones_clock_was_ahead(config: Config, told: list[str]) -> None:
    config = replace(config, nightly=NightlyConfig(stop_after_failures=2))
    for minutes in (5, 10):
        put_night(config, ago(minutes=-minutes))
    assert resume_nights(config) == 2
    stages.begin_night(config)


def test_a_cost_in_the_future_is_no_cost_of_tonight(config: Config) -> None:
    config = limited(config, gpu_hours_per_night=1)
    put(config, 5, datetime(2090, 1, 1, tzinfo=UTC))
    stages.begin_night(config)
    put(config, 0.5)
    assert Budget(config).overspent() == ""
    begun(config, datetime(2090, 1, 1, tzinfo=UTC))  # the clock goes back while the night is under way
    put(config, 0.6)
    assert Budget(config).overspent().startswith("1.1 GPU-hours are spent this night")


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_months_and_nights_do_not_depend_on_the_time_zone_of_a_machine(
    config: Config, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        config = limited(config, gpu_hours_per_month=100)
        put(config, 8, datetime(2026, 11, 30, 23, tzinfo=UTC), hours=2)
        spent = [Budget(config).spent("month", datetime(2026, month, 1, tzinfo=UTC)).gpu_hours for month in (11, 12)]
        assert spent == [4, 4]
        stages.begin_night(config)
        stages.end_night(config, False)
        assert "No run has ended" not in stages.night_status(config, 1).lines[0]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_step_that_succeeded_in_a_second_try_is_not_blamed_for_a_later_one(config: Config, told: list[str]) -> None:
    stages.begin_night(config)
    with pytest.raises(StoreError), stages.keeping_trouble(config, "train"):
        raise StoreError("the server was away for a moment")
    for step in ("train", "evaluate"):
        with stages.keeping_trouble(config, step):
            pass
    assert stages.end_night(config, True, "Task steps failed.").reason == "after evaluate: Task steps failed."


class Killed(BaseException):
    """In place of SIGKILL: nothing of the step says another word."""


def test_a_step_that_was_killed_is_named(config: Config, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stages.begin_night(config)
    with stages.keeping_trouble(config, "train"):
        pass
    with pytest.raises(Killed), stages.keeping_trouble(config, "evaluate"):
        raise Killed
    stages.end_night(config, True, "Task steps failed.")
    why = "ended from outside, as by the kernel where memory runs out, or with its machine: Task steps failed."
    assert told[0].endswith(f": the night failed: evaluate: {why}")
    assert stages.end_night(config, True, "no pod began").reason == "no pod began", "of another night"

    def killed_after_its_beginning() -> None:
        with stages.keeping_trouble(config, "preprocess"):
            stages.begin_night(config)
            raise Killed

    with pytest.raises(Killed):
        killed_after_its_beginning()
    assert stages.end_night(config, True, "Task steps failed.").reason == f"preprocess: {why}"
    for content in (b"", b"[3]", b'{"state": 3}', None):
        with stages.keeping_trouble(config, "train"):
            pass
        if content is None:
            Path(config.store, "nights/night/step.json").write_bytes(b"not what was put")
        else:
            open_store(config.store).write_bytes("nights/night/step.json", content)
        assert stages.end_night(config, True, "no pod began").reason == "no pod began"
    monkeypatch.delenv(IN_PIPELINE)
    with stages.keeping_trouble(config, "train"):
        pass
    assert not open_store(config.store).exists("nights/night/step.json")


def test_shards_beside_one_that_failed_leave_its_reason(config: Config, told: list[str]) -> None:
    stages.begin_night(config)
    with pytest.raises(DataError), stages.keeping_trouble(config, "prepare-shard"):
        raise DataError("part 3 is broken")
    with stages.keeping_trouble(config, "prepare-shard"):
        pass
    assert stages.end_night(config, True, "Task steps failed.").reason == "prepare-shard: part 3 is broken"


def test_all_that_is_against_a_night_is_said_at_once(config: Config, told: list[str]) -> None:
    config = replace(limited(config, gpu_hours_per_month=1, core_hours_per_month=1))
    put(config, 2)
    store = open_store(config.store)
    store.write_bytes(
        f"costs/night/{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z.unfinished.evaluate.aa.json",
        b'{"step": "evaluate", "core_hours": 3}',
    )
    with pytest.raises(OverBudget) as spent:
        stages.begin_night(config)
    assert "nightly.most_gpu_hours_per_month is 1" in str(spent.value)
    assert "nightly.most_core_hours_per_month is 1" in str(spent.value)
    assert "; 3 core-hours are spent this month" in Budget(config).overspent()
    config = replace(config, nightly=replace(config.nightly, stop_after_failures=1, least_free_gb=1e9))
    put_night(config, ago(hours=1))
    with pytest.raises(NotBegun) as found:
        stages.begin_night(config)
    for words in ("The last 1 night failed", "GB free", "most_gpu_hours_per_month", "most_core_hours_per_month"):
        assert words in str(found.value)


@pytest.mark.parametrize("written", [lambda path: path, lambda path: f"file://{path}"], ids=["path", "file"])
def test_the_disk_of_a_store_is_looked_at_however_it_is_written(
    config: Config, tmp_path: Path, written: Callable[[str], str]
) -> None:
    config = replace(config, store=written(str(tmp_path / "elsewhere")), nightly=NightlyConfig(least_free_gb=1e9))
    assert [said.partition(" has ")[0] for said in lacking_space(config)] == [
        str(tmp_path / "work"),
        str(tmp_path / "elsewhere"),
    ]


def test_nights_of_a_name_below_another_are_its_own(config: Config, told: list[str]) -> None:
    below = replace(config, name="night/small")
    stages.end_night(below, True, "no memory")
    assert on_record(config) == []
    assert "There are nights of night/small: see --name." in stages.night_status(config, 26).lines[0]
    assert os.listdir(Path(config.store, "nights", "night")) == ["small"]


@pytest.mark.parametrize("hours", [0, 20], ids=["joined", "killed"])
def test_records_are_listed_once_as_a_night_begins(
    config: Config, told: list[str], hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_night(config, ago(hours=40))
    begun(config, ago(hours=hours))
    listed: list[str] = []
    lists = FolderStore.list

    def counted(store: FolderStore, prefix: str = "") -> Iterator[ObjectInfo]:
        listed.append(prefix)
        return lists(store, prefix)

    monkeypatch.setattr(FolderStore, "list", counted)
    stages.begin_night(config)
    kept_and_cost = 2 if hours else 0  # the killed night is put on record, with what it cost
    assert listed.count("nights/night/") == 1 + kept_and_cost
