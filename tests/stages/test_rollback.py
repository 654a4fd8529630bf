"""Rolling production back: where the pointer goes, what the history says, what is not promoted again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from stored_scores import write_evaluation

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config
from oaml_core.errors import StoreError
from oaml_core.store import Store, open_store


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return replace(Config(), store=str(tmp_path / "store"), work_dir=str(tmp_path / "work"))


@pytest.fixture
def store(config: Config) -> Store:
    return open_store(config.store)


def promote(config: Config, name: str, accuracy: float) -> stages.Promoted:
    store = open_store(config.store)
    store.write_bytes(f"runs/{name}/model.onnx", name.encode())
    folder = Path(config.work_dir) / "evaluations" / name
    write_evaluation(folder, {"lfw": {"clean": accuracy}})
    store.put_tree(folder, f"runs/{name}", last="metrics.json")
    return stages.promote(config, store.url(f"runs/{name}/model.onnx"), store.url(f"runs/{name}/metrics.json"))


def production(store: Store) -> dict[str, str]:
    return json.loads(store.read_bytes(stages.PRODUCTION))


def test_each_step_back_goes_to_the_model_before(config: Config, store: Store) -> None:
    first, second, third = (promote(config, name, 0.9).version for name in ("a", "b", "c"))
    assert production(store)["previous"] == second
    assert stages.rollback(config).version == second
    assert production(store)["model_uri"].endswith("runs/b/model.onnx")
    back = stages.rollback(config)
    assert (back.version, back.withdrawn) == (first, second)
    with pytest.raises(StoreError, match="first that was in production"):
        stages.rollback(config)
    assert production(store)["version"] == first
    assert third in {info.key.split("/")[1].removesuffix(".json") for info in store.list("models/")}


def test_a_model_that_was_rolled_back_returns_only_by_name(config: Config, store: Store) -> None:
    promote(config, "a", 0.9)
    bad = promote(config, "bad", 0.95).version
    stages.rollback(config)
    again = promote(config, "bad", 0.95)
    assert not again.promoted
    assert "was rolled back" in again.reason
    assert f"oaml rollback --to {bad}" in again.reason
    assert stages.rollback(config, bad).version == bad
    assert promote(config, "bad", 0.95).reason.startswith("nothing new")


def test_going_back_twice_never_brings_back_what_was_rolled_back(config: Config, store: Store) -> None:
    first = promote(config, "a", 0.9).version
    promote(config, "b", 0.9)
    assert promote(config, "a", 0.9).promoted, "last week's data again"
    second = promote(config, "b", 0.9).version
    assert stages.rollback(config).version == first
    with pytest.raises(StoreError, match="all before it were rolled back"):
        stages.rollback(config)
    assert production(store)["version"] == first
    assert stages.rollback(config, second).version == second


def test_promoting_what_is_in_production_keeps_the_way_back(config: Config, store: Store) -> None:
    first = promote(config, "a", 0.9).version
    promote(config, "b", 0.9)
    assert promote(config, "b", 0.9).promoted
    assert production(store)["previous"] == first


def test_a_pointer_from_before_the_history_can_be_returned_to(config: Config, store: Store, tmp_path: Path) -> None:
    store.write_bytes("runs/old/model.onnx", b"old")
    old = {
        "version": "old",
        "model_uri": store.url("runs/old/model.onnx"),
        "metrics_uri": write_evaluation(tmp_path / "old", {"lfw": {"clean": 0.5}}),
        "accuracy": 0.5,
        "sets": ["lfw"],
    }
    store.write_bytes(stages.PRODUCTION, json.dumps(old).encode())
    promote(config, "new", 0.9)
    assert stages.rollback(config).version == "old"


def test_production_stays_where_it_is_if_the_other_model_is_gone(config: Config, store: Store) -> None:
    promote(config, "a", 0.9)
    present = promote(config, "b", 0.9).version
    store.delete("runs/a/model.onnx")
    with pytest.raises(StoreError, match=r"runs/a/model\.onnx is not there any more: production stays"):
        stages.rollback(config)
    assert production(store)["version"] == present


def test_the_command_says_what_is_possible(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["rollback", "--store", config.store])
    assert ended.value.code == 1
    assert "nothing is in production" in capsys.readouterr().err
    first = promote(config, "a", 0.9).version
    second = promote(config, "b", 0.9).version
    with pytest.raises(SystemExit):
        main(["rollback", "--store", config.store, "--to", "nonsense"])
    assert f"Those that were: {first}, {second}." in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["rollback", "--store", config.store])
    assert ended.value.code == 0
    assert f"{first} is in production again; {second} is not" in capsys.readouterr().out
