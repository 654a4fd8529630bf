"""Stages beyond what the pipeline's own tests run: the promotion gate, and evaluations that are there already."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stored_scores import write_evaluation
from untrained import write_untrained

from oaml_core import stages
from oaml_core.config import Config, DataConfig, EvaluateConfig, ModelConfig, PromoteConfig
from oaml_core.stages import evaluate_stage
from oaml_core.stages.production import point_at
from oaml_core.store import open_store


def measured(folder: Path, name: str, clean: float, veil: float = 0.8, verification: str = "lfw", luck: int = 0) -> str:
    return write_evaluation(folder / name, {verification: {"clean": clean, "veil": veil}}, luck=luck)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def test_only_a_model_that_is_not_inferior_on_the_same_pairs_goes_into_production(
    config: Config, tmp_path: Path
) -> None:
    pointer = tmp_path / "store" / stages.PRODUCTION

    def production() -> str:
        return json.loads(pointer.read_text())["model_uri"]

    first = stages.promote(config, "first", measured(tmp_path, "first", 0.94))
    assert (first.promoted, first.reason) == (True, "the first model")
    worse = stages.promote(config, "worse", measured(tmp_path, "worse", 0.90))
    assert not worse.promoted
    assert "lfw/clean −4.00" in worse.reason
    masked = stages.promote(config, "masked", measured(tmp_path, "masked", 0.96, veil=0.7))
    assert not masked.promoted
    assert "lfw/veil −10.00" in masked.reason
    other = stages.promote(config, "other", measured(tmp_path, "other", 0.98, verification="agedb_30"))
    assert not other.promoted
    assert "lfw: the challenger was not measured on it" in other.reason
    assert production() == "first"
    better = stages.promote(config, "better", measured(tmp_path, "better", 0.96))
    assert better.promoted
    assert production() == "better"
    assert better.version != first.version


def test_the_gate_says_what_promotion_would_do_and_changes_nothing(config: Config, tmp_path: Path) -> None:
    first, worse = measured(tmp_path, "first", 0.94), measured(tmp_path, "worse", 0.90)
    assert stages.gate(config, first).reason == "there is no model in production yet"
    stages.promote(config, "first", first)
    assert stages.gate(config, first).passes
    judged = stages.gate(config, worse)
    assert not judged.passes
    assert judged.reason == stages.promote(config, "worse", worse).reason
    assert "The model **is refused**: it loses more than 0.2 points" in judged.summary
    assert "| lfw | clean | 94.00% | 90.00% |" in judged.summary
    assert json.loads((tmp_path / "store" / stages.PRODUCTION).read_text())["model_uri"] == "first"


def test_the_margin_is_the_configuration_s(config: Config, tmp_path: Path) -> None:
    stages.promote(config, "first", measured(tmp_path, "first", 0.94))
    lenient = replace(config, promote=PromoteConfig(non_inferior_by=5.0))
    assert stages.promote(lenient, "worse", measured(tmp_path, "worse", 0.90)).promoted


def test_a_champion_without_scores_is_named_with_the_remedy(config: Config, tmp_path: Path) -> None:
    stages.promote(config, "first", measured(tmp_path, "first", 0.94))
    (tmp_path / "first" / "scores.npz").unlink()
    refused = stages.promote(config, "better", measured(tmp_path, "better", 0.98))
    assert not refused.promoted
    assert "scores cannot be read" in refused.reason
    assert "Remove models/production.json" in refused.reason


@pytest.fixture
def prepared(config: Config, tmp_path: Path) -> tuple[Config, str, str]:
    """Configuration, data set and checkpoint of a model that nobody trained."""
    config = replace(
        config,
        data=DataConfig(synthetic_identities=4, synthetic_images_per_identity=2, synthetic_pairs=20, num_workers=0),
        model=ModelConfig(arch="ir_mini", width=4),
        evaluate=EvaluateConfig(occluders=("veil",), block_shares=(), sides=("second",), far=(0.1,), pictures=2),
    )
    return config, stages.prepare(config).dataset_uri, str(write_untrained(config, tmp_path / "best.ckpt"))


def test_an_evaluation_of_the_same_inputs_is_not_repeated(
    prepared: tuple[Config, str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config, dataset, checkpoint = prepared
    first = stages.evaluate(config, dataset, checkpoint)
    assert not first.reused
    with monkeypatch.context() as patch:
        patch.setattr(evaluate_stage, "_measure", lambda *_: pytest.fail("it was measured again"))
        first.report.unlink()
        again = stages.evaluate(config, dataset, checkpoint)
    assert again == replace(first, reused=True)
    assert again.report.is_file()
    assert "synthetic" in again.summary
    other = replace(config, evaluate=replace(config.evaluate, occluders=("scarf",)))
    assert not stages.evaluate(other, dataset, checkpoint).reused


def test_a_new_champion_is_compared_with(prepared: tuple[Config, str, str]) -> None:
    config, dataset, checkpoint = prepared
    ours = stages.evaluate(config, dataset, checkpoint)
    store = open_store(config.store)
    known = {"model_uri": "file:///models/a.onnx", "accuracy": 0.5, "sets": ["synthetic"]}
    # This very evaluation in production is nothing to compare with.
    point_at(store, {**known, "version": "ours", "metrics_uri": ours.metrics_uri})
    assert stages.evaluate(config, dataset, checkpoint).reused
    theirs = ours.metrics_uri.replace("evaluation-", "adopted-")
    for name in ("metrics.json", "scores.npz"):
        content = store.read_bytes(ours.metrics_uri.removeprefix(f"{store.uri}/").replace("metrics.json", name))
        store.write_bytes(theirs.removeprefix(f"{store.uri}/").replace("metrics.json", name), content)
    point_at(store, {**known, "version": "theirs", "metrics_uri": theirs})
    compared = stages.evaluate(config, dataset, checkpoint)
    assert not compared.reused
    found = stages.read_metrics_json(compared.metrics_uri)["comparison"]
    assert found["champion"] == "theirs"
    assert {one["verdict"] for one in found["differences"]} == {"not distinguishable"}
    assert "Against theirs" in compared.summary
    assert "The promotion gate lets it pass: " in compared.report.read_text()
    assert stages.evaluate(config, dataset, checkpoint).reused
