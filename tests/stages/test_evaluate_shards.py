"""Evaluating by shards: the same files to the last byte, however many; a shard that dies is made again alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from untrained import write_untrained

from oaml_core import stages
from oaml_core.cli import main
from oaml_core.config import Config, DataConfig, EvaluateConfig, ModelConfig
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.errors import ConfigError, EvaluationError, StoreError
from oaml_core.evaluation.scoring import shard
from oaml_core.evaluation.scoring.score_parts import read_scored
from oaml_core.evaluation.verdict import evaluate as evaluate_module
from oaml_core.evaluation.verdict import evaluate_global
from oaml_core.models.build import build_backbone
from oaml_core.settings import config_to_yaml
from oaml_core.stages import evaluation_inputs
from oaml_core.stages.cost_records import Cost
from oaml_core.stages.costs import Attempt
from oaml_core.stages.evaluation_inputs import EvaluationInputs
from oaml_core.store import Store, open_store
from oaml_core.store.stored_arrays import read_arrays, write_arrays
from tests.data_layer.conftest import face, write_bin

CHUNK = 8
"""Pairs of a chunk in these tests: less than a batch, and no divisor of either set."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard, "CHUNK", CHUNK)


@pytest.fixture
def timeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clocks stand still, and nothing costs anything: what is left in the results depends on pairs and model alone."""
    for module in (evaluate_module, evaluate_global, evaluation_inputs):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(Attempt, "cost_of_run", lambda _: Cost())


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of pairs: a folder with its list, of images that are in many pairs, and 30 drawn pairs as `.bin`."""
    folder = tmp_path_factory.mktemp("faces")
    for person in range(4):
        (folder / f"p{person}").mkdir()
        for number in range(5):
            (folder / f"p{person}" / f"{number}.jpg").write_bytes(encode_jpeg(face(100 * person + number)))
    names = [f"p{person}/{number}.jpg" for number in range(5) for person in range(4)]
    genuine, others = list(zip(names, names[4:], strict=False)), list(zip(names, names[5:], strict=False))
    pairs = [pair for both in zip(genuine, others, strict=False) for pair in both]
    lines = [f"{one},{other},{int(one[:2] == other[:2])}" for one, other in pairs]
    (folder / "own_pairs.csv").write_text("\n".join(["first,second,same", *lines]) + "\n")
    write_bin(folder / "drawn.bin", [encode_jpeg(face(1000 + number)) for number in range(40)], [True, False] * 10)
    return folder


@pytest.fixture
def at(faces: Path, tmp_path: Path) -> Callable[[str], tuple[Config, str, str]]:
    """Configuration, data set and checkpoint in a store of their own; the checkpoint is the same for all."""
    checkpoint = tmp_path / "best.ckpt"

    def made(name: str) -> tuple[Config, str, str]:
        config = replace(
            Config(),
            store=str(tmp_path / name / "store"),
            work_dir=str(tmp_path / name / "work"),
            data=DataConfig(source=str(faces), num_workers=0),
            model=ModelConfig(arch="ir_mini", width=4),
            evaluate=EvaluateConfig(occluders=("veil",), block_shares=(), sides=("both",), far=(0.1,), pictures=2),
        )
        if not checkpoint.exists():
            write_untrained(config, checkpoint)
        return config, stages.prepare(config).dataset_uri, str(checkpoint)

    return made


def results_of(config: Config, metrics_uri: str) -> dict[str, bytes]:
    store = open_store(config.store)
    prefix = metrics_uri.removeprefix(f"{store.uri}/").rpartition("/")[0]
    return {info.key.rpartition("/")[2]: store.read_bytes(info.key) for info in store.list(f"{prefix}/")}


def parts_in(config: Config) -> list[str]:
    return [info.key for info in open_store(config.store).list("shards/")]


@pytest.mark.usefixtures("timeless")
def test_any_number_of_shards_gives_the_same_files(at: Callable[[str], tuple[Config, str, str]]) -> None:
    config, dataset, checkpoint = at("a")
    first = stages.evaluate(config, dataset, checkpoint)
    expected = results_of(config, first.metrics_uri)
    assert set(expected) == {"metrics.json", "report.html", "scores.npz"}
    assert b"veil-both" in expected["metrics.json"]
    assert set(stages.read_metrics_json(first.metrics_uri)["sets"]) == {"own", "drawn"}
    store = open_store(config.store)
    for shards in (1, 3, 7):
        for info in list(store.list("runs/")) + list(store.list("adopted/")):
            store.delete(info.key)
        for number in reversed(range(shards)):
            assert stages.evaluate_shard(config, dataset, checkpoint, f"{number}/{shards}")
        assert len(parts_in(config)) == 2 * shards
        merged = stages.evaluate(config, dataset, checkpoint, shards=shards, only_merge=True)
        assert not merged.reused
        assert results_of(config, merged.metrics_uri) == expected
        assert not parts_in(config)


@pytest.mark.usefixtures("timeless")
def test_any_number_of_shards_gives_the_same_files_of_a_backbone(
    at: Callable[[str], tuple[Config, str, str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config, dataset, _ = at("a")
    torch.manual_seed(0)
    torch.save({"state_dict": build_backbone("ir_mini", width=4).state_dict()}, tmp_path / "published.pth")
    (tmp_path / "config.yaml").write_text(config_to_yaml(config))

    command = ["evaluate", "--backbone", str(tmp_path / "published.pth"), "--dataset", dataset]
    command += ["--config", str(tmp_path / "config.yaml")]

    def run(*words: str) -> dict[str, bytes]:
        with pytest.raises(SystemExit, match="0"):
            main([*command, *words])
        found = (Path(config.work_dir) / "backbones").rglob("*.*")
        return {path.name: path.read_bytes() for path in found if path.is_file()}

    expected = run()
    assert set(expected) == {"metrics.json", "report.html", "scores.npz"}
    assert b"veil-both" in expected["metrics.json"]
    for shards in (1, 3):
        shutil.rmtree(Path(config.work_dir) / "backbones")
        for number in reversed(range(shards)):
            run("--shard", f"{number}/{shards}")
        assert len(parts_in(config)) == 2 * shards
        assert run("--merge", str(shards)) == expected
        assert not parts_in(config)
    assert run("--shards", "2") == expected
    capfd.readouterr()
    run("--shard", "1/2")
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--merge", "2"])
    assert "is missing: 1 of 2 shards" in capfd.readouterr().err


def rewritten(store: Store, key: str, **changes: object) -> None:
    """Write a part again with other statements beside its arrays."""
    arrays, about = read_arrays(store, key, "")
    write_arrays(store, key, arrays, about | changes)


def test_what_cannot_be_merged_is_named_with_the_remedy(at: Callable[[str], tuple[Config, str, str]]) -> None:
    config, dataset, checkpoint = at("a")
    store = open_store(config.store)

    def merged() -> stages.Evaluated:
        return stages.evaluate(config, dataset, checkpoint, shards=2, only_merge=True)

    with pytest.raises(EvaluationError, match=r"-00000\.npz is missing: 2 of 2 .* --shard 0/2, --shard 1/2 first"):
        merged()
    stages.evaluate_shard(config, dataset, checkpoint, "1/2")
    with pytest.raises(EvaluationError, match=r"is missing: 1 of 2 .* --shard 0/2 first, or .*--shards 2"):
        merged()
    stages.evaluate_shard(config, dataset, checkpoint, "0/2")
    key = next(key for key in parts_in(config) if key.endswith("own-00001.npz"))
    parts = EvaluationInputs(config, dataset, checkpoint).parts(2)
    read = partial(read_scored, parts, "own", ["clean", "veil-both"], 30)
    assert len(read()[0].scores["clean"].global_score) == 30
    whole, (arrays, about) = store.read_bytes(key), read_arrays(store, key, "")
    others = about["made_by"] | {"checkpoint": "f00d"}
    for changes, said in (
        ({"made_by": others}, "was made with checkpoint f00d, not [0-9a-f]{64}"),
        ({"made_by": about["made_by"] | {"torch's version": "1.0"}}, "was made with torch's version 1.0, not 2"),
        ({"rows": [0, 8]}, r"is of the rows \[0, 8\], not \[16, "),
        ({"seconds": "long"}, "seconds"),
    ):
        rewritten(store, key, **changes)
        with pytest.raises((EvaluationError, StoreError), match=rf"own-00001\.npz.*{said}.*Delete it.*--shard 1/2"):
            read()
        store.write_bytes(key, whole)
    write_arrays(store, key, {name: array for name, array in arrays.items() if name != "veil-both/map_error"}, about)
    with pytest.raises(EvaluationError, match=r"own-00001\.npz lacks scores of veil-both pairs"):
        read()
    store.write_bytes(key, whole[:300])
    with pytest.raises(StoreError, match=r"own-00001\.npz cannot be read as arrays .*--shard 1/2"):
        read()
    store.delete(key)
    assert not stages.evaluate(config, dataset, checkpoint, shards=2).reused  # a shard that is missing is made


def test_a_shard_that_dies_goes_on_with_the_set_that_it_died_in(
    at: Callable[[str], tuple[Config, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, dataset, checkpoint = at("a")
    scored: list[str] = []
    whole = evaluate_module.score_conditions

    def failing(*arguments: object, **options: object) -> object:
        scored.append(str(options["progress"]))
        if scored == ["own", "drawn"] or scored == ["drawn", "own"]:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(evaluate_module, "score_conditions", failing)
    with pytest.raises(KeyboardInterrupt):
        stages.evaluate_shard(config, dataset, checkpoint, "1/2")
    assert len(parts_in(config)) == 1
    assert stages.evaluate_shard(config, dataset, checkpoint, "1/2")
    assert scored[1:] == [scored[1], scored[1]]
    assert not stages.evaluate_shard(config, dataset, checkpoint, "1/2")


def test_orders_hold_all_that_a_shard_must_know(at: Callable[[str], tuple[Config, str, str]]) -> None:
    config, dataset, checkpoint = at("a")
    orders = stages.plan_evaluation(config, dataset, checkpoint, 2)
    assert len(orders) == stages.shards_of(orders) == 2
    assert [stages.evaluate_by_order(config, order) for order in (*orders, orders[0])] == [True, True, False]
    rewritten(open_store(config.store), parts_in(config)[0], device="another device")
    merged = stages.evaluate(config, dataset, checkpoint, shards=2, only_merge=True)
    assert not merged.reused
    devices = stages.read_metrics_json(merged.metrics_uri)["context"]["device"]
    assert devices == f"another device, {evaluation_inputs.device_name()}", "all devices are named"
    assert stages.plan_evaluation(config, dataset, checkpoint, 5) == [orders[0].replace("0/2", "0/5")]
    assert stages.shards_of([]) is None
    with pytest.raises(ConfigError, match="plan_evaluation gives orders"):
        stages.evaluate_by_order(config, "0/2")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "2/2"], "There is no shard 2/2: they are numbered 0/2 … 1/2"),
        (["--shard", "two"], "'two' names no shard. Give number and count"),
        (["--shards", "0"], "The number of shards is 0"),
        (["--merge", "-1"], "The number of shards is -1"),
        (["--shard", "0/2", "--merge", "2"], "Give one of --shards"),
    ],
)
def test_numbers_that_name_no_shard_are_refused_on_the_command_line(
    words: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", "--checkpoint", "best.ckpt", "--store", str(tmp_path / "store"), *words])
    assert said in capfd.readouterr().err
    assert not (tmp_path / "store").exists(), "that is said before anything is prepared"


@pytest.mark.parametrize("of", [1, 3, 7, 50])
def test_shards_are_whole_chunks_and_all_of_them(of: int) -> None:
    shares = [one.pairs(27 * CHUNK + 3) for one in shard.EvaluationShard.all(of)]
    assert shares[0].start == 0
    assert [share.stop for share in shares] == [*(share.start for share in shares[1:]), 27 * CHUNK + 3]
    assert all(share.start % CHUNK == 0 or share.start == share.stop for share in shares)
    assert max(share.stop - share.start for share in shares) <= -(-28 // of) * CHUNK
