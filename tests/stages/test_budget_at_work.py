"""A night under way that is over its budget: how its steps end, and what goes on."""

from __future__ import annotations

import logging
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from spent import limited, put

from oaml_core import stages
from oaml_core.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from oaml_core.errors import ClusterError, DataError, OverBudget, StoreError
from oaml_core.stages import budget, costs
from oaml_core.stages.budget import Budget
from oaml_core.stages.cost_records import Cost, CostRecords
from oaml_core.stages.costs import costing
from oaml_core.stages.present_night import IN_PIPELINE
from oaml_core.store import open_store
from oaml_core.tracking import METRICS, read_metrics

pytestmark = pytest.mark.usefixtures("in_pipeline")


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
