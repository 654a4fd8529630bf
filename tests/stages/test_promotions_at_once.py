"""Promotions and rollbacks that come at once: nothing replaces a model that it was not judged against."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.stages import promote_stage, rollback_stage
from oaml_core.stages.production import ProductionMoved
from oaml_core.store import open_store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


def evaluated(config: Config, name: str, accuracy: float) -> tuple[str, str]:
    """Addresses of a model and its metrics in the store."""
    store = open_store(config.store)
    store.write_bytes(f"runs/{name}/model.onnx", name.encode())
    folder = Path(config.work_dir) / "evaluations" / name
    write_evaluation(folder, {"lfw": {"clean": accuracy}})
    store.put_tree(folder, f"runs/{name}", last="metrics.json")
    return store.url(f"runs/{name}/model.onnx"), store.url(f"runs/{name}/metrics.json")


def in_production(config: Config) -> str:
    return str(json.loads(open_store(config.store).read_bytes(stages.PRODUCTION))["model_uri"]).split("/")[-2]


def meanwhile(monkeypatch: pytest.MonkeyPatch, config: Config, other: tuple[str, str]) -> list[str]:
    """Let `other` be promoted while a model is judged for the first time; gives the champions that it met."""
    judge, met = promote_stage.challenge, []

    def challenge(config: Config, present: dict[str, Any], metrics_uri: str) -> Any:
        met.append(present["model_uri"].split("/")[-2])
        decision = judge(config, present, metrics_uri)
        if len(met) == 1:
            with monkeypatch.context() as alone:
                alone.setattr(promote_stage, "challenge", judge)
                assert stages.promote(config, *other).promoted
        return decision

    monkeypatch.setattr(promote_stage, "challenge", challenge)
    return met


def test_a_model_is_judged_again_against_the_one_that_came_meanwhile(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.promote(config, *evaluated(config, "old", 0.80))
    much_better, better = evaluated(config, "much_better", 0.99), evaluated(config, "better", 0.85)
    met = meanwhile(monkeypatch, config, much_better)
    assert not stages.promote(config, *better).promoted
    assert (in_production(config), met) == ("much_better", ["old", "much_better"])


def test_one_that_passes_again_follows_the_one_that_came_meanwhile(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.promote(config, *evaluated(config, "old", 0.80))
    better, much_better = evaluated(config, "better", 0.85), evaluated(config, "much_better", 0.99)
    met = meanwhile(monkeypatch, config, better)
    assert stages.promote(config, *much_better).promoted
    assert (in_production(config), met) == ("much_better", ["old", "better"])
    assert stages.rollback(config).model_uri.split("/")[-2] == "better"


def test_a_rollback_does_not_undo_a_promotion_that_came_meanwhile(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, accuracy in (("a", 0.80), ("b", 0.85)):
        stages.promote(config, *evaluated(config, name, accuracy))
    newest = evaluated(config, "c", 0.99)
    look = rollback_stage._wanted

    def wanted(*arguments: Any) -> Any:
        stages.promote(config, *newest)
        return look(*arguments)

    monkeypatch.setattr(rollback_stage, "_wanted", wanted)
    with pytest.raises(ProductionMoved, match="somebody else moved it meanwhile"):
        stages.rollback(config)
    assert in_production(config) == "c"


def test_a_model_that_is_promoted_and_rolled_back_while_another_run_judges_it_stays_out(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.promote(config, *evaluated(config, "old", 0.80))
    better, judge, times = evaluated(config, "better", 0.95), promote_stage.challenge, []

    def challenge(config: Config, present: dict[str, Any], metrics_uri: str) -> Any:
        times.append(present["model_uri"])
        if len(times) == 1:
            assert stages.promote(config, *better).promoted
            stages.rollback(config)
        return judge(config, present, metrics_uri)

    monkeypatch.setattr(promote_stage, "challenge", challenge)
    promoted = stages.promote(config, *better)
    assert not promoted.promoted
    assert "it was rolled back on" in promoted.reason
    assert in_production(config) == "old"
