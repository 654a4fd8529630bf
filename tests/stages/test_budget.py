"""Budgets of nights: what counts, what is refused, how a night under way is ended, and what people are told."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, DataConfig, ModelConfig, NightlyConfig, OptimConfig, TrainConfig
from oaml_core.errors import ClusterError, ConfigError, DataError, OverBudget, StoreError
from oaml_core.stages import budget, costs
from oaml_core.stages.budget import Budget, month_begins, refuse_night
from oaml_core.stages.cost_records import Cost, CostRecords, record_key
from oaml_core.stages.costs import cost_of_run, costing
from oaml_core.stages.nights import past_nights
from oaml_core.stages.present_night import IN_PIPELINE, night_began, note_beginning
from oaml_core.store import open_store
from oaml_core.store.folder import FolderStore
from oaml_core.tracking import METRICS, read_metrics

NOVEMBER = datetime(2026, 11, 15, 2, tzinfo=UTC)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    messages: list[str] = []
    monkeypatch.setattr("oaml_core.stages.nights.notify", messages.append)
    return messages


@pytest.fixture(autouse=True)
def in_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(IN_PIPELINE, "1")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), name="night", store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def limited(config: Config, **most: float) -> Config:
    return replace(config, nightly=replace(config.nightly, **{f"most_{key}": value for key, value in most.items()}))


def put(
    config: Config,
    gpu_hours: float,
    began: datetime | None = None,
    hours: float = 0.0,
    step: str = "train",
    token: str | None = None,
    run: str = "unfinished",
) -> Path:
    """Put the record of an attempt into the store; where it is."""
    key = record_key(config.name, began or datetime.now(UTC), run, step, token or os.urandom(4).hex())
    content = {"step": step, "run": run, "seconds": 3600 * hours, **asdict(Cost(gpu_hours=gpu_hours))}
    open_store(config.store).write_bytes(key, json.dumps(content).encode())
    path = Path(config.store) / key
    if began is not None and hours < 1000:  # the last write of the attempt
        os.utime(path, ns=(0, int((began + timedelta(hours=hours)).timestamp() * 1e9)))
    return path


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


def test_an_attempt_costs_each_month_what_falls_into_it(config: Config) -> None:
    put(config, 8, datetime(2026, 11, 30, 23, tzinfo=UTC), hours=4)
    put(config, 1, datetime(2026, 11, 1, tzinfo=UTC))
    put(config, 16, datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    spent = [Budget(config).spent("month", month_begins(NOVEMBER, later)).gpu_hours for later in (-1, 0, 1, 2)]
    assert spent == [0, 3, 6 + 16, 0]
    assert month_begins(NOVEMBER, 2) == datetime(2027, 1, 1, tzinfo=UTC)
    assert month_begins(datetime.fromisoformat("2026-12-01T00:30+01:00")) == datetime(2026, 11, 1, tzinfo=UTC)


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


def test_later_steps_of_a_night_over_budget_are_not_begun(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    config = limited(config, gpu_hours_per_night=1)
    put(config, 5, datetime.now(UTC) - timedelta(hours=1))
    stages.begin_night(config)
    with costing(config, "train"):
        put(config, 0.9)
    with costing(config, "evaluate"):
        put(config, 0.2)
    refused = pytest.raises(OverBudget, match=r"1.1 GPU-hours are spent this night.*no further step begins")
    with refused, costing(config, "export"):
        pytest.fail("it is not begun")
    monkeypatch.delenv(IN_PIPELINE)
    with costing(config, "export"):
        pass  # a person may


@pytest.fixture
def asked() -> Iterator[list[int]]:
    """Signals that ask for an orderly end, taken as training does."""
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))
    yield taken
    signal.signal(signal.SIGTERM, before)


def test_a_step_that_listens_is_asked_to_end_once(
    config: Config, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "BEAT_SECONDS", 0.01)
    config = limited(config, gpu_hours_per_night=1)
    stages.begin_night(config)

    def train() -> None:
        with costing(config, "train", gpus=1) as attempt:
            time.sleep(0.1)
            assert asked == []
            attempt._clock -= 3600
            while not asked:
                time.sleep(0.01)
            time.sleep(0.1)
            raise SystemExit(143)

    with pytest.raises(OverBudget, match=r"spent this night.*Production is untouched"):
        train()
    assert len(asked) == 1


def test_a_step_that_ends_otherwise_ends_as_ever(config: Config) -> None:
    config = limited(config, gpu_hours_per_night=1)
    stages.begin_night(config)
    with pytest.raises(DataError, match=r"^broken$"), costing(config, "train"):
        raise DataError("broken")
    with pytest.raises(SystemExit), costing(config, "train"):
        raise SystemExit(143)
    put(config, 1.5, datetime.now(UTC), token="other-node")
    with pytest.raises(OverBudget, match=r"no further step begins"), costing(config, "train"):
        pytest.fail("it is not begun")


def test_a_node_whose_workers_failed_because_others_were_over_budget_says_so(config: Config) -> None:
    config = limited(config, gpu_hours_per_night=1)
    stages.begin_night(config)

    def train() -> None:
        with costing(config, "train"):
            put(config, 1)  # another node
            raise StoreError("all workers are gone")

    with pytest.raises(OverBudget, match=r"The step ended with: all workers are gone"):
        train()


def test_two_runs_at_once_share_a_night_and_each_record_counts_once(config: Config, told: list[str]) -> None:
    config = limited(config, gpu_hours_per_night=1)
    stages.begin_night(config)
    began = night_began(config)
    stages.begin_night(config)
    assert night_began(config) == began
    with costing(config, "train", gpus=1) as one, costing(config, "train", gpus=1) as other:
        for attempt, hours in ((one, 0.7), (other, 0.6)):
            attempt._clock -= hours * 3600
            attempt.write()
            attempt.run = "runs/night-0123"
            attempt.write()
        assert Budget(config).spent("night").gpu_hours == pytest.approx(1.3, abs=0.01)
        assert re.match(r"1\.3\d* GPU-hours are spent this night", Budget(config).overspent())
    stages.end_night(config, True)
    stages.begin_night(config)
    assert night_began(config) > began  # type: ignore[operator]


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


def test_an_attempt_that_was_killed_between_its_two_keys_counts_once(config: Config) -> None:
    for run in ("unfinished", "0123"):
        put(config, 2, NOVEMBER, hours=1, token="ab", run=run)
    put(config, 2, NOVEMBER, hours=1, token="cd")
    assert Budget(config).spent("month", NOVEMBER).gpu_hours == 4


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"\xff" * 9, b'{"step":' + b"[" * 9000, b'{"step": "train", "plan": []}'),
        *(
            b'{"step": "train", "gpu_hours": %s}' % value
            for value in (b'"5"', b"-5", b"NaN", b"1e999", b"1e308", b"true")
        ),
        b'{"step": "train", "seconds": 1e20}',
        None,
    ],
    ids=lambda content: str(content)[:40],
)
def test_a_damaged_record_is_named_and_counts_as_the_costliest_of_its_step(
    config: Config, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    config = limited(config, gpu_hours_per_month=100)
    put(config, 2), put(config, 5, step="export"), put(config, 3, run="aa")
    damaged = put(config, 7, run="aa")
    if content is None:
        damaged.write_bytes(b"not what was put")
    else:
        open_store(config.store).write_bytes(damaged.relative_to(config.store).as_posix(), content)
    assert Budget(config).spent("month").gpu_hours == 13
    status = stages.night_status(config, 26)
    assert not status.is_well
    said = next(line for line in status.lines if str(damaged) in line)
    assert "is damaged" in said or "is not JSON" in said
    assert "Delete it" in said
    assert "counts as the costliest attempt at train" in said
    assert cost_of_run(config, "runs/night-aa").gpu_hours == 6
    assert str(damaged) in caplog.text


def test_an_attempt_that_claims_to_last_for_ages_harms_no_sum(config: Config) -> None:
    put(config, 8, NOVEMBER - timedelta(hours=1), hours=1e9)
    assert Budget(config).spent("month", NOVEMBER).gpu_hours == pytest.approx(0, abs=1e-3)
    assert Budget(config).spent("night").gpu_hours == 0


def test_other_objects_beside_the_records_are_no_records(config: Config) -> None:
    put(config, 2)
    put(replace(config, name="night/other"), 3)
    for name in ("notes.txt", "20269999T000000000000Z.a.b.c.json", "x.json", "deeper/notes"):
        open_store(config.store).write_bytes(f"costs/night/{name}", b"hello")
    assert Budget(config).spent("month").gpu_hours == 2
    assert cost_of_run(config, "runs/night-unfinished").gpu_hours == 2


def test_a_record_that_moves_while_it_is_read_counts_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = put(config, 2, token="ab"), FolderStore.read_bytes

    def moved(self: FolderStore, key: str) -> bytes:
        if path.exists():
            put(config, 2, datetime.now(UTC), token="ab", run="0123")
            path.unlink()
        return read(self, key)

    monkeypatch.setattr(FolderStore, "read_bytes", moved)
    assert Budget(config).spent("month").gpu_hours == 2


def test_records_that_have_not_changed_are_read_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        put(config, 1)
    put(config, 1, datetime.now(UTC) - timedelta(days=70))
    records, read, keys = CostRecords(open_store(config.store), "night"), FolderStore.read_bytes, []

    def counted(self: FolderStore, key: str) -> bytes:
        keys.append(key)
        return read(self, key)

    monkeypatch.setattr(FolderStore, "read_bytes", counted)
    since = datetime.now(UTC) - timedelta(days=60)
    assert records.between(since).gpu_hours == 5
    put(config, 1)
    assert records.between(since).gpu_hours == 6
    assert len(keys) == 6


def test_a_store_that_is_away_for_a_while_does_not_end_training(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(costs, "BEAT_SECONDS", 0.01)
    config = limited(config, gpu_hours_per_month=1)

    def away(*_: object) -> Cost:
        raise StoreError("the server is away")

    with costing(config, "train"):
        monkeypatch.setattr(CostRecords, "between", away)
        while "What the night has spent is not known: the server is away" not in caplog.text:
            time.sleep(0.01)


def test_without_a_budget_nobody_asks_the_store(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "open_store", lambda _: pytest.fail("asked"))
    with costing(config, "train"):
        pass


def test_a_cluster_whose_nodes_have_spent_the_budget_ends_the_night(config: Config, told: list[str]) -> None:
    config = limited(config, gpu_hours_per_night=2)
    stages.begin_night(config)

    def on_cluster(config: Config, dataset_uri: str, run_prefix: str) -> None:
        put(config, 2, datetime.now(UTC))
        raise ClusterError("PyTorchJob night-0123 failed: 2 GPU-hours are spent this night")

    with pytest.raises(OverBudget, match="2 GPU-hours are spent"), stages.keeping_trouble(config, "train"):
        stages.train(config, "s3://nowhere/datasets/f1", launcher=on_cluster)
    assert stages.end_night(config, True).state == "over budget"
    with pytest.raises(OverBudget, match="no further step begins"):
        stages.train(config, "s3://nowhere/datasets/f1", launcher=lambda *_: pytest.fail("asked for GPUs"))


def test_a_cluster_that_fails_for_another_reason_fails(config: Config) -> None:
    def on_cluster(config: Config, dataset_uri: str, run_prefix: str) -> None:
        raise ClusterError("no node is free")

    with pytest.raises(ClusterError, match="no node is free"):
        stages.train(limited(config, gpu_hours_per_night=2), "s3://nowhere/datasets/f1", launcher=on_cluster)


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


def small(config: Config) -> Config:
    return replace(
        config,
        data=DataConfig(
            batch_size=8, synthetic_identities=16, synthetic_images_per_identity=6, synthetic_pairs=20, num_workers=0
        ),
        model=ModelConfig(arch="ir_mini", width=8),
        optim=OptimConfig(epochs=400, lr=0.05),
        train=TrainConfig(nproc=1, checkpoint_every_steps=1000, log_every_steps=1, val_every_epochs=400),
    )


@pytest.mark.parametrize("launcher", ["local", "none"])
def test_training_ends_after_a_checkpoint_and_the_next_night_goes_on_from_it(
    config: Config,
    launcher: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    told: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(costs, "BEAT_SECONDS", 0.1)
    config = small(config)
    dataset = stages.prepare(config).dataset_uri
    prefix = stages.run_prefix(config, dataset)
    steps: list[int] = []
    overspent, rows = Budget.overspent, Path(config.work_dir) / prefix / METRICS
    for night in range(2):
        before = len(read_metrics(rows))

        def not_before_steps(self: Budget, now: datetime | None = None, before: int = before) -> str:
            return overspent(self, now) if len(read_metrics(rows)) > before + 5 else ""

        monkeypatch.setattr(Budget, "overspent", not_before_steps)
        stages.begin_night(config)
        with pytest.raises(OverBudget, match="core-hours are spent this night"):
            stages.train(limited(config, core_hours_per_night=1e-9), dataset, launcher=launcher)
        stages.end_night(config, True)
        names = [info.key for info in open_store(config.store).list(f"{prefix}/checkpoints/")]
        steps.append(max(int(number) for name in names for number in re.findall(r"step-(\d+)", name)))
        assert (night == 1) == ("resumes from" in "".join([*caplog.messages, capfd.readouterr().err]))
    assert 0 < steps[0] < steps[1]
    assert not open_store(config.store).exists(f"{prefix}/result.json")
