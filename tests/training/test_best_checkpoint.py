"""The best checkpoint is the one that the newest names, on whatever disk a run goes on and whenever it was killed."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path

import forked
import pytest
import torch
from gloo_workers import run_workers
from tiny_run import wait_for

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.stages.publish_run import checked_result, publish_run
from oaml_core.store import Store, open_store
from oaml_core.training.checkpoints import read_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.launcher import RESULT
from oaml_core.training.resume import newest_checkpoint
from oaml_core.training.worker import write_result
from oaml_core.training.world import World

ALONE = World(0, 1, 0, 1)


def state(step: int, best: int) -> dict[str, object]:
    """A state at `step` of a run whose best validation was that of step `best`."""
    return {"config": "x", "step": step, "expected": best, "weights": torch.full((20_000,), float(step))}


def opened(folder: Path, store: Store | None) -> tuple[CheckpointKeeper, int]:
    """The checkpoints of a run that goes on in `folder`, and the step that it goes on from."""
    keeper = CheckpointKeeper(folder / "checkpoints", store, "runs/a/checkpoints", 2, retry_seconds=0.02)
    found = newest_checkpoint(keeper, ALONE)
    return keeper, 0 if found is None else found[1]["step"]


def save(keeper: CheckpointKeeper, step: int, best: int) -> None:
    keeper.save(state(step, best), step, best=step == best)
    keeper.wait()


def best_step(folder: Path) -> int:
    return int(read_checkpoint(folder / "checkpoints" / "best.ckpt")["step"])


def test_a_disk_that_was_away_does_not_bring_back_its_older_best(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    first, second = tmp_path / "first", tmp_path / "second"
    save(opened(first, store)[0], 5, 5)
    keeper, _ = opened(second, store)
    for step, best in ((10, 10), (12, 10)):
        save(keeper, step, best)
    keeper, step = opened(first, store)
    assert (step, best_step(first)) == (12, 10)
    save(keeper, 13, 10)
    store.get_file("runs/a/checkpoints/best.ckpt", tmp_path / "fetched")
    assert read_checkpoint(tmp_path / "fetched")["step"] == 10


def test_a_run_that_ends_on_a_fresh_disk_publishes_the_best_of_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    keeper, _ = opened(tmp_path / "first", store)
    for step, best in ((5, 5), (6, 5), (7, 5), (8, 5)):
        save(keeper, step, best)
    fresh = tmp_path / "fresh"
    keeper, step = opened(fresh, store)
    assert (step, best_step(fresh)) == (8, 5)
    (fresh / "metrics.csv").write_text("step,name,value\n")
    write_result(fresh, {"val_acc": 0.5, "best_val_acc": 0.6}, keeper.best)
    publish_run(store, "runs/a", fresh)
    store.get_file("runs/a/best.ckpt", tmp_path / "published")
    assert read_checkpoint(tmp_path / "published")["step"] == 5
    assert checked_result(store, "runs/a") == {"val_acc": 0.5, "best_val_acc": 0.6}


def test_a_kill_between_the_file_and_its_link_loses_no_best(tmp_path: Path) -> None:
    keeper, _ = opened(tmp_path, None)
    save(keeper, 5, 5)
    older = shutil.copy(tmp_path / "checkpoints" / "best.ckpt", tmp_path / "older")
    save(keeper, 10, 10)
    Path(older).replace(tmp_path / "checkpoints" / "best.ckpt")
    _, step = opened(tmp_path, None)
    assert (step, best_step(tmp_path)) == (10, 10)


def resume_on_a_node(rank: int, size: int, nodes: str) -> None:
    """Go on as the only worker of a node that has a disk of its own."""
    folder = Path(nodes) / str(rank) / "checkpoints"
    keeper = CheckpointKeeper(folder, None, "runs/a/checkpoints", 2)
    assert newest_checkpoint(keeper, World(rank, size, 0, 1)) is not None
    if rank == 0:
        keeper.save(state(9, 5), 9)
        keeper.wait()


def test_another_node_shows_its_best_to_the_main_worker(tmp_path: Path) -> None:
    keeper, _ = opened(tmp_path / "1", None)
    for step in (5, 6, 7, 8):
        save(keeper, step, 5)
    run_workers(resume_on_a_node, 2, 2, str(tmp_path))
    assert best_step(tmp_path / "0") == 5
    assert opened(tmp_path / "0", None)[0].best == keeper.best


def test_a_best_that_is_nowhere_is_named(tmp_path: Path) -> None:
    keeper, _ = opened(tmp_path, None)
    for step in (5, 6, 7, 8):
        save(keeper, step, 5)
    path = tmp_path / "checkpoints" / "best.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"step-0000000005\.ckpt.*neither in .* nor in the store"):
        opened(tmp_path, None)


def test_another_file_than_the_best_is_not_published(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    keeper, _ = opened(tmp_path, store)
    save(keeper, 5, 5)
    (tmp_path / "metrics.csv").write_text("step,name,value\n")
    write_result(tmp_path, {"best_val_acc": 0.6}, keeper.best)
    save(keeper, 10, 10)
    with pytest.raises(CheckpointError, match=r"best\.ckpt is not the checkpoint of step 5.*same command again"):
        publish_run(store, "runs/a", tmp_path)
    assert not store.exists("runs/a/best.ckpt")
    write_result(tmp_path, {"best_val_acc": 0.7}, keeper.best)
    publish_run(store, "runs/a", tmp_path)
    store.write_bytes("runs/a/best.ckpt", b"of somebody else")
    with pytest.raises(StoreError, match=r"best\.ckpt is not the checkpoint.*result\.json"):
        checked_result(store, "runs/a")


def test_a_run_of_an_earlier_version_is_told_what_helps(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text(json.dumps({"best_val_acc": 0.6}))
    with pytest.raises(CheckpointError, match=r"another --name, and .*best\.ckpt as --train\.start_from"):
        publish_run(open_store(str(tmp_path / "store")), "runs/a", tmp_path)


def test_what_was_published_first_stays(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    for name in ("first", "second"):
        folder = tmp_path / name
        keeper, _ = opened(folder, None)
        save(keeper, 5 if name == "first" else 9, 5 if name == "first" else 9)
        (folder / "metrics.csv").write_text("step,name,value\n")
        write_result(folder, {"best_val_acc": 0.6}, keeper.best)
        publish_run(store, "runs/a", folder)
    assert json.loads(store.read_bytes(f"runs/a/{RESULT}"))["best"]["step"] == 5
    store.get_file("runs/a/best.ckpt", tmp_path / "published")
    assert read_checkpoint(tmp_path / "published")["step"] == 5


def go_on(folder: Path, store: Path, stored: bool) -> None:
    """Train for ever: every third validation is the best so far."""
    keeper, step = opened(folder, open_store(str(store)) if stored else None)
    best = step if keeper.best is None else keeper.best.step
    while True:
        step += 1
        keeper.save(state(step, best), step)  # as before a validation
        best = step if step % 3 == 0 or best == 0 else best
        keeper.save(state(step, best), step, best=step == best)
        time.sleep(0.002)


def newest_step(folder: Path, pointer: Path | None) -> int:
    """Step of the newest checkpoint in a folder, or of the one that a store's pointer names; 0 if there is none."""
    if pointer is None:
        names = [path.name for path in folder.glob("step-*.ckpt")]
    else:
        names = [json.loads(pointer.read_text())["name"]] if pointer.exists() else []
    return max((int(name[5:15]) for name in names), default=0)


@pytest.mark.parametrize("stored", [False, True])
def test_killed_at_any_moment_best_is_the_one_that_the_newest_names(tmp_path: Path, stored: bool) -> None:
    moments, store = random.Random(1), tmp_path / "store"
    reached = 0
    for number in range(14):
        # With a store the disks alternate, and some are fresh.
        folder = tmp_path / (moments.choice(["a", "b", f"fresh-{number}"]) if stored else "a")
        writer = forked.start(go_on, folder, store, stored)
        here, pointer = folder / "checkpoints", store / "runs" / "a" / "checkpoints" / "last.json"
        if number == 0:  # the first gets so far that there is something to lose, however slow the machine is
            wait_for(lambda here=here, at=pointer if stored else None: newest_step(here, at) > 3)
        else:
            wait_for(lambda here=here: newest_step(here, None) > 0)
        time.sleep(moments.uniform(0, 0.3))
        writer.kill()
        writer.join()
        check = tmp_path / "check"
        if stored:
            shutil.rmtree(check, ignore_errors=True)
        else:
            check = folder
        keeper, step = opened(check, open_store(str(store)) if stored else None)
        if step == 0:
            continue
        expected = read_checkpoint(check / "checkpoints" / f"step-{step:010d}.ckpt")["expected"]
        reached = max(reached, step)
        if expected == 0:
            assert keeper.best is None
            continue
        assert keeper.best is not None
        assert (best_step(check), keeper.best.step) == (expected, expected)
    assert reached > 3
