"""Components hand on to the stages what they are given, and describe what comes back; the stages are stand-ins."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from kfp import dsl

from components.cluster import ClusterConfig
from components.evaluate.component import evaluate
from components.evaluate.shards import evaluate_shard, plan_evaluation
from components.export.component import export
from components.preprocess.component import preprocess
from components.preprocess.shards import plan_shards, prepare_shard
from components.promote.component import promote
from components.promote.gate import gate
from components.train.cluster_launcher import ClusterLauncher
from components.train.component import train
from oaml_core import stages
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.settings import config_to_yaml, digest
from oaml_core.stages.cost_records import Cost

CONFIG = Config(name="night")
TEXT = config_to_yaml(CONFIG)


@pytest.fixture
def dataset() -> dsl.Dataset:
    return dsl.Dataset(metadata={"store_uri": "s3://b/datasets/f1", "fingerprint": "f1"})


@pytest.fixture
def model() -> dsl.Model:
    return dsl.Model(metadata={"checkpoint_uri": "s3://b/runs/1/best.ckpt"})


@pytest.fixture
def metrics() -> dsl.Metrics:
    return dsl.Metrics(metadata={"val_accuracy_clean_combined": 0.9})


METRICS_URI = "s3://b/runs/1/metrics.json"


def stand_in(monkeypatch: pytest.MonkeyPatch, stage: str, result: object) -> list[tuple[Any, ...]]:
    """Replace a stage; the list gets the arguments of each call."""
    calls: list[tuple[Any, ...]] = []

    def called(*arguments: Any, **options: Any) -> object:
        calls.append((*arguments, *options.values()))
        return result

    monkeypatch.setattr(stages, stage, called)
    return calls


def test_preprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, "prepare_night", stages.Prepared("s3://b/datasets/f1", "f1", False, {"images": 5}))
    dataset = dsl.Dataset()
    prepared = preprocess.python_func(config=TEXT, dataset=dataset)
    preprocess.python_func(config=TEXT, dataset=dsl.Dataset(), orders=["p1/0", "p1/1"])
    assert calls == [(CONFIG, []), (CONFIG, ["p1/0", "p1/1"])]
    assert prepared == ("f1",)
    assert dataset.metadata == {
        "display_name": stages.dated_name(CONFIG),
        "images": 5,
        "store_uri": "s3://b/datasets/f1",
        "fingerprint": "f1",
        "config": TEXT,
        "config_digest": digest(CONFIG),
    }


def test_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = stand_in(monkeypatch, "plan_night", ["p1/0", "p1/1"])
    made = stand_in(monkeypatch, "prepare_shard", True)
    assert plan_shards.python_func(config=TEXT, shards=2) == ["p1/0", "p1/1"]
    assert prepare_shard.python_func(config=TEXT, order="p1/1") == "p1/1"
    assert planned == [(CONFIG, 2)]
    assert made == [(CONFIG, "p1/1")]


def test_train(monkeypatch: pytest.MonkeyPatch, dataset: dsl.Dataset) -> None:
    trained = stages.Trained("s3://b/runs/1/best.ckpt", "s3://b/runs/1", 0.91, {}, Cost())
    calls = stand_in(monkeypatch, "train", trained)
    model = dsl.Model()
    train.python_func(config=TEXT, fingerprint="f1", cluster="", dataset=dataset, model=model)
    assert calls == [(CONFIG, "s3://b/datasets/f1", "local")]
    assert model.metadata["checkpoint_uri"] == trained.checkpoint_uri
    assert model.metadata["run_uri"] == trained.run_uri
    assert model.metadata["val_acc"] == 0.91
    assert model.metadata["fingerprint"] == "f1"
    assert model.metadata["config"] == TEXT


@pytest.mark.parametrize(("backend", "kind"), [("pytorchjob", ClusterLauncher), ("local", str)])
def test_train_on_a_cluster(
    monkeypatch: pytest.MonkeyPatch, dataset: dsl.Dataset, backend: Literal["pytorchjob", "local"], kind: type
) -> None:
    cluster = ClusterConfig(namespace="faces", training_backend=backend)
    calls = stand_in(monkeypatch, "train", stages.Trained("s3://b/runs/1/best.ckpt", "s3://b/runs/1", 0.91, {}, Cost()))
    train.python_func(
        config=TEXT, fingerprint="f1", cluster=config_to_yaml(cluster), dataset=dataset, model=dsl.Model()
    )
    assert type(calls[0][2]) is kind
    if isinstance(calls[0][2], ClusterLauncher):
        assert calls[0][2].cluster == cluster


def test_evaluate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: dsl.Dataset, model: dsl.Model) -> None:
    local = tmp_path / "local.html"
    local.write_text("<p>report")
    curve = {"fpr": [0.0, 0.5, 1.0], "tpr": [0.2, 0.8, 1.0], "threshold": [0.9, 0.5, 0.1]}
    evaluated = stages.Evaluated(
        "s3://b/runs/1/metrics.json",
        "s3://b/runs/1/report.html",
        {"val_accuracy_clean_combined": 0.9},
        curve,
        local,
        "| a |",
        True,
    )
    calls = stand_in(monkeypatch, "evaluate", evaluated)
    metrics, roc = dsl.Metrics(), dsl.ClassificationMetrics()
    report = dsl.HTML(uri=str(tmp_path / "out.html"))
    summary = dsl.Markdown(uri=str(tmp_path / "out.md"))
    given = evaluate.python_func(
        config=TEXT,
        fingerprint="f1",
        dataset=dataset,
        model=model,
        metrics=metrics,
        roc=roc,
        report=report,
        summary=summary,
    )
    assert calls == [(CONFIG, "s3://b/datasets/f1", "s3://b/runs/1/best.ckpt", None)]
    described = {
        "display_name": stages.dated_name(CONFIG),
        "fingerprint": "f1",
        "config_digest": digest(CONFIG),
    }
    assert given == (evaluated.metrics_uri,)
    shown = {name: value for name, value in metrics.metadata.items() if name != "display_name"}
    assert shown == {"val_accuracy_clean_combined": 0.9}, "Kubeflow compares everything that stands there"
    assert [point["recall"] for point in roc.metadata["confidenceMetrics"]] == curve["tpr"]
    assert Path(report.path).read_text() == "<p>report"
    assert Path(summary.path).read_text() == "| a |"
    assert report.metadata == {"store_uri": evaluated.report_uri, **described}


def test_evaluation_shards(monkeypatch: pytest.MonkeyPatch, dataset: dsl.Dataset, model: dsl.Model) -> None:
    orders = [json.dumps({"shard": f"{number}/2", "dataset": "d", "checkpoint": "c"}) for number in range(2)]
    planned = stand_in(monkeypatch, "plan_evaluation", orders)
    made = stand_in(monkeypatch, "evaluate_by_order", True)
    assert plan_evaluation.python_func(config=TEXT, fingerprint="f1", shards=2, dataset=dataset, model=model) == orders
    assert evaluate_shard.python_func(config=TEXT, order=orders[1]) == orders[1]
    assert planned == [(CONFIG, "s3://b/datasets/f1", "s3://b/runs/1/best.ckpt", 2)]
    assert made == [(CONFIG, orders[1])]


def test_export(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: dsl.Dataset, model: dsl.Model, metrics: dsl.Metrics
) -> None:
    calls = stand_in(monkeypatch, "export", stages.Exported("s3://b/runs/1/export/model.onnx", {}, "# Card"))
    onnx_model, card = dsl.Model(), dsl.Markdown(uri=str(tmp_path / "card.md"))
    export.python_func(
        config=TEXT,
        fingerprint="f1",
        dataset=dataset,
        model=model,
        metrics=metrics,
        metrics_uri=METRICS_URI,
        onnx_model=onnx_model,
        model_card=card,
    )
    assert Path(card.path).read_text() == "# Card"
    assert calls == [(CONFIG, "s3://b/datasets/f1", "s3://b/runs/1/best.ckpt", "s3://b/runs/1/metrics.json")]
    assert onnx_model.metadata == {
        "display_name": stages.dated_name(CONFIG),
        "val_accuracy_clean_combined": 0.9,
        "store_uri": "s3://b/runs/1/export/model.onnx",
        "fingerprint": "f1",
        "config": TEXT,
        "config_digest": digest(CONFIG),
    }


def test_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = stand_in(monkeypatch, "gate", stages.Judged(False, "it loses", "It **loses**."))
    decision = dsl.Markdown(uri=str(tmp_path / "decision.md"))
    assert gate.python_func(config=TEXT, metrics_uri=METRICS_URI, decision=decision) == (False, "it loses")
    assert calls == [(CONFIG, "s3://b/runs/1/metrics.json")]
    assert Path(decision.path).read_text() == "It **loses**."
    assert decision.metadata == {"display_name": f"night {datetime.now(UTC):%Y-%m-%d}"}


@pytest.mark.parametrize(("promoted", "words"), [(True, "promoted"), (False, "kept the champion")])
def test_promote(monkeypatch: pytest.MonkeyPatch, promoted: bool, words: str) -> None:
    stand_in(monkeypatch, "promote", stages.Promoted("v1", promoted, "because"))
    onnx_model = dsl.Model(metadata={"store_uri": "s3://b/runs/1/export/model.onnx"})
    assert promote.python_func(config=TEXT, onnx_model=onnx_model, metrics_uri=METRICS_URI) == f"{words}: because"


def test_a_mistyped_configuration_is_refused(dataset: dsl.Dataset) -> None:
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        train.python_func(config="optim: {lrr: 1}", fingerprint="f1", cluster="", dataset=dataset, model=dsl.Model())
