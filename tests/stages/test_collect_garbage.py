"""What `oaml store gc` keeps, and what it takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oaml_core.cli import main
from oaml_core.errors import StoreError
from oaml_core.stages.collect_garbage import Garbage, find_garbage, pin, remove, unpin
from oaml_core.stages.cost_records import record_key
from oaml_core.stages.production import point_at
from oaml_core.store import Store, open_store
from oaml_core.store.local_file import only_one

Night = Callable[..., None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def night(store: Store) -> Night:
    """Leave in the store what a night leaves: a data set, a run on it, and perhaps a champion."""

    def passes(name: str, data: str, evaluated: bool = True, promoted: bool = True) -> None:
        for part in ("shared", data):
            store.write_bytes(f"datasets/files/{part}", part.encode())
        files = [{"key": f"datasets/files/{part}"} for part in ("shared", data)]
        store.write_bytes(f"datasets/{data}/manifest.json", json.dumps({"files": files}).encode())
        for file in ("best.ckpt", "result.json", "checkpoints/step-1.ckpt", "export/model.onnx"):
            store.write_bytes(f"runs/{name}/{file}", b"{}")
        if evaluated:
            measured = {"context": {"dataset_fingerprint": data}}
            store.write_bytes(f"runs/{name}/evaluation-1/metrics.json", json.dumps(measured).encode())
        if evaluated and promoted:
            model, metrics = f"runs/{name}/export/model.onnx", f"runs/{name}/evaluation-1/metrics.json"
            point_at(store, {"version": name, "model_uri": store.url(model), "metrics_uri": store.url(metrics)})

    return passes


def found(store: Store, nights: int = 7, later: timedelta = timedelta(days=30)) -> Garbage:
    return find_garbage(store, nights, timedelta(days=2), datetime.now(UTC) + later)


def groups(garbage: Garbage) -> set[str]:
    return {"/".join(info.key.split("/")[: 3 if "/files/" in info.key else 2]) for info in garbage.objects}


def test_work_that_was_shared_out_and_never_ended_goes_when_it_is_old(store: Store) -> None:
    store.write_bytes("shards/0123/plan.json", b"{}")
    store.write_bytes("shards/0123/order-00000.npz", b"names")
    assert groups(found(store)) == {"shards/0123"}
    assert not found(store, later=timedelta(hours=1)).objects


def test_losers_go_with_their_data_and_shared_content_stays(store: Store, night: Night) -> None:
    night("champion", "monday")
    night("loser", "tuesday", promoted=False)
    store.write_bytes("notes/mine.txt", b"theirs")
    garbage = found(store)
    assert groups(garbage) == {"runs/loser", "datasets/tuesday", "datasets/files/tuesday"}
    assert "in production" in garbage.kept["runs/champion"]
    remove(store, garbage)
    assert store.exists("runs/champion/best.ckpt")
    assert store.exists("datasets/files/shared")
    assert store.exists("notes/mine.txt")
    assert groups(found(store)) == set()


def test_what_makes_a_run_complete_goes_first(store: Store, night: Night) -> None:
    night("champion", "monday")
    night("loser", "tuesday", promoted=False)
    keys = [info.key for info in found(store).objects]
    assert keys == sorted(keys, key=lambda key: not key.endswith(".json"))
    assert keys[0].endswith(".json")


def test_what_is_young_stays(store: Store, night: Night) -> None:
    night("champion", "monday")
    night("running", "tuesday", evaluated=False)
    garbage = found(store, later=timedelta(days=1))
    assert garbage.objects == []
    assert garbage.kept["runs/running"] == "young"


def test_champions_of_the_last_nights_and_the_way_back_stay(store: Store, night: Night) -> None:
    for name in ("a", "b", "c"):
        night(name, "data")
    assert groups(found(store, nights=60)) == set()
    assert groups(found(store, nights=7)) == {"runs/a"}
    assert "roll back" in found(store, nights=7).kept["runs/b"]


def test_pinned_runs_stay(store: Store, night: Night) -> None:
    night("champion", "monday")
    night("loser", "tuesday", promoted=False)
    pin(store, "loser")
    assert groups(found(store)) == set()
    unpin(store, "loser")
    assert "runs/loser" in groups(found(store))
    with pytest.raises(StoreError, match="not pinned"):
        unpin(store, "loser")
    with pytest.raises(StoreError, match="There is no run"):
        pin(store, "mistyped")


def test_a_kept_run_of_unknown_data_keeps_all_data(store: Store, night: Night) -> None:
    night("champion", "monday")
    night("unmeasured", "tuesday", evaluated=False)
    night("loser", "wednesday", promoted=False)
    pin(store, "unmeasured")
    garbage = found(store)
    assert groups(garbage) == {"runs/loser"}
    assert "does not say" in garbage.kept["datasets/wednesday"]


def test_what_a_killed_writer_left_goes_when_it_is_old_and_is_shown(
    store: Store, night: Night, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    night("champion", "monday")
    left = [
        tmp_path / "store/runs/champion/.best.ckpt.0a1b2c3d.tmp",
        tmp_path / "store/runs/champion/.sha256/.best.ckpt.0a1b2c3e.tmp",
    ]
    for path in left:
        path.write_bytes(b"half")
    theirs = tmp_path / "store/runs/champion/.notes.tmp"
    theirs.write_bytes(b"of somebody else")
    remove(store, found(store, later=timedelta()))
    assert all(path.exists() for path in left), "a writer may still be at it"
    with pytest.raises(SystemExit, match="0"):
        main(["store", "ls", "--store", store.uri])
    assert ".tmp" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["store", "ls", "runs/champion/", "--all", "--store", store.uri])
    shown = [line for line in capsys.readouterr().out.splitlines() if line.endswith("(not ended)")]
    assert len(shown) == 2
    remove(store, found(store))
    assert not any(path.exists() for path in left)
    assert theirs.exists()


def test_no_empty_folder_stays_and_a_writer_finds_its_way(store: Store, night: Night, tmp_path: Path) -> None:
    night("champion", "monday")
    night("loser", "tuesday", promoted=False)
    (tmp_path / "store/.git/empty").mkdir(parents=True)
    remove(store, found(store))
    folders = [path for path in (tmp_path / "store").rglob("*") if path.is_dir() and path.name != ".sha256"]
    empty = [path for path in folders if not [each for each in path.rglob("*") if each.is_file()]]
    assert {path.name for path in empty} == {".git", "empty"}
    assert not (tmp_path / "store/runs/loser").exists()
    store.write_bytes("runs/loser/best.ckpt", b"again")
    assert store.read_bytes("runs/loser/best.ckpt") == b"again"


def test_a_lock_that_is_removed_while_it_is_waited_for_lets_one_in_at_a_time(tmp_path: Path) -> None:
    lock, inside, most = tmp_path / "folder" / ".lock", [0], [0]
    counting = threading.Lock()

    def enter(_: int) -> None:
        with only_one(lock):
            with counting:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            with counting:
                inside[0] -= 1
            lock.unlink(missing_ok=True)  # last, as whoever removes an empty folder: from here on another may enter

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(400)))
    assert most == [1]


def test_costs_stay_for_two_months_and_as_long_as_their_run(store: Store, night: Night) -> None:
    night("oaml-aa", "monday")
    night("oaml-bb", "tuesday", promoted=False)
    store.write_bytes("priors/tiles-dd/result.json", b"{}")
    now = datetime.now(UTC)

    def cost(name: str, run: str, step: str, token: str, plan: str = "") -> str:
        key = record_key(name, now, run, step, token)
        store.write_bytes(key, json.dumps({"step": step, "plan": plan}).encode())
        return key

    stay = {
        cost("oaml", "aa", "train", "1"),
        cost("oaml", "aa", "preprocess", "2", plan="0123"),
        cost("oaml", "0123", "prepare-shard", "3"),
        cost("tiles", "dd", "train-prior", "4"),
    }
    go = {
        cost("oaml", "bb", "train", "5"),
        cost("oaml", "unfinished", "preprocess", "6"),
        cost("oaml", "4567", "prepare-shard", "7"),
        cost("other", "0123", "prepare-shard", "8"),
    }
    store.write_bytes("costs/oaml/bill.xlsx", b"mine")

    def removed(days: int) -> set[str]:
        return {info.key for info in found(store, later=timedelta(days=days)).objects if info.key.startswith("costs/")}

    assert removed(61) == set()
    garbage = found(store, later=timedelta(days=63))
    assert removed(63) == go
    remove(store, garbage)
    assert {info.key for info in store.list("costs/")} == {*stay, "costs/oaml/bill.xlsx"}
