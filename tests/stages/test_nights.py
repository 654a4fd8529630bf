"""Runs that nobody watches: how each ended is on record, and what is wrong is told."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, NightlyConfig
from oaml_core.errors import ConfigError, DataError, OamlError
from oaml_core.stages.night_records import KEPT, past_nights
from oaml_core.stages.nights import resume_nights
from oaml_core.stages.present_night import IN_PIPELINE
from oaml_core.store import open_store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(
        Config(),
        name="night",
        store=str(tmp_path / "store"),
        work_dir=str(tmp_path / "work"),
        nightly=NightlyConfig(stop_after_failures=3),
    )


@pytest.fixture
def in_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_PIPELINE, "1")


def fail(config: Config, step: str = "train", why: str = "the disk is full") -> None:
    """One night in which a step fails, as the pipeline's steps have it."""
    stages.begin_night(config)
    with pytest.raises(DataError), stages.keeping_trouble(config, step):
        raise DataError(why)
    stages.end_night(config, True, "Task steps failed.")


def test_a_night_that_failed_is_told_with_the_steps_own_words(
    config: Config, told: list[str], in_pipeline: None
) -> None:
    fail(config)
    assert told == [f"OAML, night {datetime.now(UTC):%Y-%m-%d}: the night failed: train: the disk is full"]
    (night,) = past_nights(open_store(config.store), config)
    assert (night.state, night.reason) == ("failed", "train: the disk is full")


def test_a_night_whose_pods_never_started_is_told_with_kubeflows_words(config: Config, told: list[str]) -> None:
    stages.end_night(config, True, "Task steps failed. (runs/7)")
    assert told[0].endswith("the night failed: Task steps failed. (runs/7)")


def test_the_trouble_of_an_earlier_night_or_of_a_step_that_was_tried_again_is_not_told(
    config: Config, told: list[str], in_pipeline: None
) -> None:
    with pytest.raises(ZeroDivisionError), stages.keeping_trouble(config, "train"):
        raise ZeroDivisionError("old")
    stages.begin_night(config)
    stages.end_night(config, True, "Task steps failed.")
    assert "old" not in told[0]
    with pytest.raises(ZeroDivisionError), stages.keeping_trouble(config, "train"):
        raise ZeroDivisionError("first try")
    assert stages.end_night(config, False).state == "nothing new"
    assert stages.end_night(config, True, "again").reason == "again"


def test_outside_a_pipeline_nothing_is_kept(config: Config) -> None:
    with pytest.raises(DataError), stages.keeping_trouble(config, "train"):
        raise DataError("typed by hand")
    assert not Path(config.store).exists()


def test_nights_say_what_became_of_the_model(config: Config, told: list[str], tmp_path: Path) -> None:
    def night(name: str, accuracy: float) -> str:
        stages.promote(config, name, write_evaluation(tmp_path / name, {"lfw": {"clean": accuracy}}))
        return stages.end_night(config, False).state

    assert [night("a", 0.95), night("a", 0.95), night("b", 0.8), night("b", 0.8)] == [
        "promoted",
        "nothing new",
        "refused",
        "nothing new",
    ]


def test_no_night_begins_after_too_many_failed_until_it_is_resumed(
    config: Config, told: list[str], in_pipeline: None
) -> None:
    for _ in range(3):
        fail(config)
    with pytest.raises(OamlError, match=r"last 3 nights failed.*the disk is full.*oaml nightly resume --name night"):
        stages.begin_night(config)
    assert "Nights begin no more" in " ".join(stages.night_status(config, 26).lines)
    resume_nights(config)
    stages.begin_night(config)
    fail(config)
    stages.begin_night(config)


def refuse(config: Config, guard: str) -> None:
    """One night that may not begin."""
    with pytest.raises(OamlError, match=guard), stages.keeping_trouble(config, "preprocess"):
        stages.begin_night(config)
    stages.end_night(config, True, "Task steps failed.")


def test_nights_that_do_not_begin_are_no_failures_and_say_the_same_every_night(
    config: Config, told: list[str], in_pipeline: None
) -> None:
    for _ in range(3):
        fail(config)
    for _ in range(3):
        refuse(config, "The last 3 nights failed")
    nights = past_nights(open_store(config.store), config)
    assert [night.state for night in nights] == ["failed"] * 3 + ["not begun"] * 3
    assert len({night.reason for night in nights[3:]}) == len({words.partition(": ")[2] for words in told[3:]}) == 1
    assert nights[-1].reason.count("the disk is full") == 1
    assert "the night did not begin: preprocess: The last 3 nights failed" in told[-1]
    status = stages.night_status(config, 26)
    assert not status.is_well
    assert status.lines[0].startswith("The last run did not begin: preprocess: The last 3 nights failed")
    assert resume_nights(config) == 3
    for _ in range(4):
        refuse(replace(config, nightly=replace(config.nightly, least_free_gb=1e9)), "GB free")
    stages.begin_night(config)


def test_resuming_a_mistyped_name_or_what_was_not_stopped_is_told(
    config: Config, told: list[str], in_pipeline: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def resume(name: str, store: str = config.store) -> str:
        with pytest.raises(SystemExit) as left:
            main(["nightly", "resume", "--store", store, "--name", name])
        shown = capsys.readouterr()
        return f"{left.value.code} {shown.out}{shown.err}"

    stages.end_night(config, False)
    assert resume("night") == "0 nights of night begin: the last one did not fail\n"
    fail(config)
    assert resume("nihgt").startswith("1 oaml: No run of nihgt has ended")
    assert "There are nights of night: see --name." in resume("nihgt")
    assert "There are nights of night: see --name." in stages.night_status(replace(config, name="nihgt"), 26).lines[0]
    assert "so none was stopped" in resume("night", str(tmp_path / "elsewhere"))
    assert not (tmp_path / "elsewhere").exists()
    assert resume("night") == "0 nights of night begin again after 1 failed one\n"


def test_a_night_that_ends_well_ends_the_count(config: Config, told: list[str], in_pipeline: None) -> None:
    fail(config)
    fail(config)
    stages.end_night(config, False)
    fail(config)
    stages.begin_night(config)


def test_other_nights_of_the_same_store_are_counted_apart(config: Config, told: list[str], in_pipeline: None) -> None:
    for _ in range(3):
        fail(config)
    stages.begin_night(replace(config, name="other"))


def test_a_full_disk_is_said_before_anything_is_done(config: Config) -> None:
    config = replace(config, nightly=NightlyConfig(least_free_gb=1e9))
    with pytest.raises(OamlError, match=r"GB free, and nightly.least_free_gb is 1e\+09"):
        stages.prepare_night(config)
    stages.end_night(config, False)
    assert "least_free_gb" in stages.night_status(config, 26).lines[0]


def test_records_of_nights_do_not_grow_for_ever(config: Config) -> None:
    store = open_store(config.store)
    for number in range(KEPT):
        store.write_bytes(f"nights/night/2020-01-01T{number:06d}.json", b'{"ended": "x", "state": "failed"}')
    stages.end_night(replace(config, nightly=NightlyConfig()), True, "x")
    assert len(list(store.list("nights/"))) == KEPT


@pytest.mark.parametrize(("hours_ago", "code"), [(25.0, 0), (27.0, 1)])
def test_a_night_that_is_late_or_absent_is_told(
    config: Config, told: list[str], hours_ago: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = (datetime.now(UTC) - timedelta(hours=hours_ago)).isoformat(timespec="microseconds")
    content = {"ended": ended, "state": "promoted", "reason": "better"}
    open_store(config.store).write_bytes("nights/night/2026-01-31T000000.json", json.dumps(content).encode())
    with pytest.raises(SystemExit) as left:
        main(["nightly", "status", "--store", config.store, "--name", "night"])
    assert left.value.code == code
    shown = capsys.readouterr().out
    assert "better" in shown
    assert ("No run has ended for 27 hours" in shown) == bool(code)


def test_the_webhook_hears_of_a_night_that_never_was(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    monkeypatch.setattr("oaml_core.notify.notify", lambda text, _: heard.append(text))
    with pytest.raises(SystemExit) as left:
        main(["nightly", "status", "--tell", "--store", config.store, "--name", "night"])
    assert left.value.code == 1
    assert "No run of night has ended yet" in heard[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("stop_after_failures", -1), ("least_new_images", -1), ("drift_images", 20), ("largest_drift", 0.0)],
)
def test_guards_that_cannot_be_are_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"nightly.{key}"):
        Config(nightly=NightlyConfig(**{key: value}))
