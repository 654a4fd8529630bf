"""Cost of a run: every process, attempt and step is on record, and counted once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from stored_scores import write_evaluation
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig, EvaluateConfig, ModelConfig
from oaml_core.errors import StoreError
from oaml_core.stages import costs, train_stage
from oaml_core.stages.cost_records import COSTS, Cost
from oaml_core.stages.costs import cost_of_run, costing
from oaml_core.store import open_store
from oaml_core.store.local_file import sha256_of
from oaml_core.store.traffic import Traffic, metered
from oaml_core.tracking import METRICS
from oaml_core.training import launcher
from oaml_core.usable_cores import usable_cores

RUN = "runs/oaml-0123456789abcdef"
CONTENT = b"x" * 1000


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def put_and_die(uri: str) -> None:
    open_store(uri).write_bytes("from/a/child", CONTENT)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_requests_of_children_count_even_if_they_are_killed(config: Config, method: str) -> None:
    with metered() as traffic:
        open_store(config.store).write_bytes("own", CONTENT)
        alone = traffic()
        child = multiprocessing.get_context(method).Process(target=put_and_die, args=(config.store,))
        child.start()
        child.join()
        assert alone == Traffic(1, 0, 1000)
        assert traffic() == Traffic(2, 0, 2000)


def test_traffic_of_a_folder_is_what_moved_and_inner_work_is_counted_alone(config: Config, tmp_path: Path) -> None:
    store = open_store(config.store)
    with metered() as outer:
        store.write_bytes("a/b", CONTENT)
        with metered() as inner:
            assert store.read_bytes("a/b") == CONTENT
            assert store.read_range("a/b", 10, 5) == CONTENT[:5]
            assert inner() == Traffic(2, 1005, 0)
        store.write_bytes("a/b", CONTENT)  # the same again: nothing is sent
        assert [info.key for info in store.list("a/")] == ["a/b"]
        assert outer() == Traffic(3, 0, 1000)
    store.delete("a/b")


def test_two_attempts_at_a_step_and_other_steps_count_and_other_runs_do_not(config: Config) -> None:
    for step, run, gpus in (("train", RUN, 2), ("train", RUN, 2), ("evaluate", RUN, 0), ("train", "runs/oaml-ff", 1)):
        with costing(config, step, run, gpus=gpus) as attempt:
            attempt._clock -= 3600
            open_store(config.store).write_bytes(f"{run}/{step}/{os.urandom(4).hex()}", CONTENT)
    found = cost_of_run(config, RUN)
    assert found.gpu_hours == pytest.approx(4, abs=0.05)
    assert found.core_hours == pytest.approx(usable_cores(), abs=0.05)
    assert found.bytes_written == 3 * len(CONTENT)
    assert found.requests == 3


def killed_in_training(config: Config) -> None:
    with costing(config, "train", RUN, gpus=1) as attempt:
        attempt._clock -= 3600
        attempt.write()
        os.kill(os.getpid(), signal.SIGKILL)


def test_work_of_an_attempt_that_was_killed_was_paid_for(config: Config) -> None:
    child = multiprocessing.get_context("fork").Process(target=killed_in_training, args=(config,))
    child.start()
    child.join()
    with costing(config, "train", RUN, gpus=1) as attempt:
        attempt._clock -= 1800
    assert cost_of_run(config, RUN).gpu_hours == pytest.approx(1.5, abs=0.05)


def test_a_record_is_kept_while_the_step_goes_on(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "BEAT_SECONDS", 0.01)
    with costing(config, "train", RUN):
        while cost_of_run(config, RUN) == Cost():
            pass
        assert len(list(open_store(config.store).list(f"{COSTS}/"))) == 1, "it is one record all the time"


def test_a_step_that_comes_to_know_its_run_moves_its_record_there(config: Config) -> None:
    with costing(config, "preprocess") as attempt:
        attempt.write()
        assert cost_of_run(config, RUN) == Cost()
        attempt.run = RUN
    assert cost_of_run(config, RUN).core_hours > 0
    assert len(list(open_store(config.store).list(f"{COSTS}/"))) == 1


def test_shards_of_a_plan_belong_to_the_run_whose_data_they_made(config: Config) -> None:
    for order in ("abc", "abc", "other"):
        with costing(config, "prepare-shard", f"shards/-{order}", gpus=1) as attempt:
            attempt._clock -= 3600
    with costing(config, "preprocess") as attempt:
        attempt.run, attempt.plan = RUN, "abc"
    assert cost_of_run(config, RUN).gpu_hours == pytest.approx(2, abs=0.05)


def test_a_store_that_takes_no_record_does_not_end_the_step(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: costs.Attempt) -> None:
        raise StoreError("the bucket may only be read")

    monkeypatch.setattr(costs.Attempt, "write", refuse)
    with costing(config, "train", RUN):
        pass
    assert "What train costs could not be kept: the bucket may only be read" in caplog.text


def test_metrics_and_report_tell_what_the_run_cost(config: Config, tmp_path: Path) -> None:
    data = DataConfig(synthetic_identities=4, synthetic_images_per_identity=2, synthetic_pairs=20, num_workers=0)
    model = ModelConfig(arch="ir_mini", width=4)
    evaluation = EvaluateConfig(occluders=("veil",), block_shares=(), sides=("second",), far=(0.1,), pictures=0)
    small = replace(config, data=data, model=model, evaluate=evaluation)
    checkpoint = str(write_untrained(small, tmp_path / "best.ckpt"))
    evaluated = stages.evaluate(small, stages.prepare(small).dataset_uri, checkpoint)
    told = json.loads(Path(evaluated.metrics_uri.removeprefix("file://")).read_text())["context"]["cost"]
    assert told["core_hours"] > 0
    assert told["requests"] > 0
    assert "<dt>cost of the run</dt>" in evaluated.report.read_text()
    steps = {info.key.split(".")[2] for info in open_store(config.store).list(f"{COSTS}/{config.name}/")}
    assert steps == {"preprocess", "evaluate"}


def test_the_result_of_training_tells_what_all_attempts_cost(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def launched(config: Config, dataset: Path, run_dir: Path, prefix: str, **_: object) -> None:
        best = run_dir / "checkpoints" / "best.ckpt"
        best.parent.mkdir(parents=True, exist_ok=True)
        best.write_bytes(CONTENT)
        (run_dir / METRICS).write_text("step\n")
        if not list(open_store(config.store).list("checkpoints/")):
            open_store(config.store).write_bytes("checkpoints/1", CONTENT)
            raise SystemExit(143)
        result = {"best_val_acc": 0.9, "best": {"step": 1, "sha256": sha256_of(best)}}
        (run_dir / launcher.RESULT).write_text(json.dumps(result))

    class Dataset:
        directory = Path("nowhere")

    monkeypatch.setattr(train_stage, "fetch_dataset", lambda *_: Dataset())
    monkeypatch.setattr(launcher, "launch", launched)
    with pytest.raises(SystemExit):
        stages.train(config, "s3://nowhere/datasets/f1")
    trained = stages.train(config, "s3://nowhere/datasets/f1")
    assert trained.metrics == {}
    assert trained.cost.core_hours > 0
    assert trained.cost.bytes_written == len(CONTENT), "the first attempt put it"


def test_the_gate_and_promotion_are_on_record(config: Config, tmp_path: Path) -> None:
    measured = write_evaluation(tmp_path / "a", {"lfw": {"clean": 0.95}})
    stages.gate(config, measured)
    stages.promote(config, "a", measured)
    assert {info.key.split(".")[2] for info in open_store(config.store).list(f"{COSTS}/")} == {"gate", "promote"}


def test_a_containers_limit_bounds_its_core_hours(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "usable_cores", lambda: 0.5)
    with costing(config, "preprocess", RUN) as attempt:
        attempt._clock -= 3600
    assert cost_of_run(config, RUN).core_hours == pytest.approx(0.5, abs=0.01)


KILLED = """
import os, signal
from oaml_core.store.traffic import metered
with metered():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_counts_of_a_killed_process_are_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with metered():
        assert len(list(tmp_path.iterdir())) == 1, "its own alone"
    assert not list(tmp_path.iterdir())
