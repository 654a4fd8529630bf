"""Which records count for a budget, and how often."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from spent import NOVEMBER, limited, put

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.stages.budget import Budget, month_begins
from oaml_core.stages.cost_records import CostRecords
from oaml_core.stages.costs import cost_of_run, costing
from oaml_core.stages.present_night import night_began
from oaml_core.store import open_store
from oaml_core.store.folder import FolderStore

pytestmark = pytest.mark.usefixtures("in_pipeline")


def test_an_attempt_costs_each_month_what_falls_into_it(config: Config) -> None:
    put(config, 8, datetime(2026, 11, 30, 23, tzinfo=UTC), hours=4)
    put(config, 1, datetime(2026, 11, 1, tzinfo=UTC))
    put(config, 16, datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC))
    spent = [Budget(config).spent("month", month_begins(NOVEMBER, later)).gpu_hours for later in (-1, 0, 1, 2)]
    assert spent == [0, 3, 6 + 16, 0]
    assert month_begins(NOVEMBER, 2) == datetime(2027, 1, 1, tzinfo=UTC)
    assert month_begins(datetime.fromisoformat("2026-12-01T00:30+01:00")) == datetime(2026, 11, 1, tzinfo=UTC)


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
