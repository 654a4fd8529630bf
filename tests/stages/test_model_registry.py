"""Promoted models in Kubeflow's Model Registry: entered once, with their lineage; production never waits for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from model_registry_server import RegistryServer, registry_server
from test_rollback import production, promote

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.stages.model_registry import enter_version
from oaml_core.store import open_store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), name="night", store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    with registry_server() as server:
        monkeypatch.setenv("OAML_MODEL_REGISTRY", server.address)
        yield server


def test_a_promoted_model_is_entered_with_its_lineage(registry: RegistryServer, config: Config) -> None:
    version = promote(config, "a", 0.9).version
    (model,), (entered,), (artifact,) = registry.held.values()
    assert (model["name"], entered["name"]) == ("night", version)
    assert entered["registeredModelId"] == model["id"]
    assert entered["description"] == "the first model"
    properties = entered["customProperties"]
    in_production = production(open_store(config.store))
    assert properties["metrics_uri"]["string_value"] == in_production["metrics_uri"]
    assert properties["promoted_at"]["string_value"] == in_production["promoted_at"]
    assert properties["val_accuracy_clean_combined"]["double_value"] == pytest.approx(in_production["accuracy"])
    assert properties["model_card_uri"]["string_value"].endswith("runs/a/MODEL_CARD.md")
    assert (artifact["uri"], artifact["modelFormatName"]) == (in_production["model_uri"], "onnx")


def test_later_versions_join_the_same_model_and_nothing_is_entered_twice(
    registry: RegistryServer, config: Config
) -> None:
    promote(config, "a", 0.9)
    promote(config, "b", 0.95)
    assert not promote(config, "worse", 0.5).promoted
    assert promote(config, "b", 0.95).reason.startswith("nothing new")
    assert {kind: len(held) for kind, held in registry.held.items()} == {
        "registered_models": 1,
        "model_versions": 2,
        "artifacts": 2,
    }


@pytest.mark.parametrize("fault", ["GET registered_model", "POST model_versions", "POST .*artifacts"])
def test_a_registry_that_fails_stops_nothing_and_is_told_on_the_next_night(
    registry: RegistryServer, config: Config, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    registry.faults = [(fault, 500)]
    assert promote(config, "a", 0.9).promoted
    assert "is not in the model registry" in caplog.text
    promote(config, "a", 0.9)
    assert [len(held) for held in registry.held.values()] == [1, 1, 1]


def test_what_is_no_registry_is_said(
    registry: RegistryServer, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RegistryServer, "answer", lambda *_: (200, ["a page to log in at"]))
    assert promote(config, "a", 0.9).promoted
    assert "no JSON object" in caplog.text


def test_a_measure_that_is_no_number_is_left_out(registry: RegistryServer, config: Config) -> None:
    pointer = {"version": "v", "model_uri": "s3://b/m.onnx", "metrics_uri": "s3://b/m.json", "previous": None}
    assert enter_version(config, pointer, {"headline": {"tar": float("nan"), "accuracy": 0.5}})
    (entered,) = registry.held["model_versions"]
    assert sorted(entered["customProperties"]) == ["accuracy", "metrics_uri", "model_card_uri"]


def test_a_busy_registry_is_asked_again(registry: RegistryServer, config: Config) -> None:
    registry.faults = [("GET registered_model", 503)]
    promote(config, "a", 0.9)
    assert [len(held) for held in registry.held.values()] == [1, 1, 1]


def test_a_token_is_sent_and_never_shown(
    registry: RegistryServer, config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    registry.token = "s3cr3t"
    promote(config, "a", 0.9)
    assert "OAML_MODEL_REGISTRY_TOKEN" in caplog.text
    monkeypatch.setenv("OAML_MODEL_REGISTRY_TOKEN", "s3cr3t")
    promote(config, "a", 0.9)
    assert [len(held) for held in registry.held.values()] == [1, 1, 1]
    assert "s3cr3t" not in caplog.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "model-registry"])
def test_an_address_that_leads_nowhere_is_said(
    config: Config, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OAML_MODEL_REGISTRY", address)
    monkeypatch.setattr("oaml_core.stages.model_registry.TRIES", 0)
    assert promote(config, "a", 0.9).promoted
    assert "OAML_MODEL_REGISTRY" in caplog.text


def test_a_version_that_is_rolled_back_is_archived(registry: RegistryServer, config: Config) -> None:
    first, second = (promote(config, name, 0.9).version for name in ("a", "b"))
    stages.rollback(config)
    assert {each["name"]: each["state"] for each in registry.held["model_versions"]} == {
        first: "LIVE",
        second: "ARCHIVED",
    }
    stages.rollback(config, second)
    assert {each["name"]: each["state"] for each in registry.held["model_versions"]} == {
        first: "ARCHIVED",
        second: "LIVE",
    }
