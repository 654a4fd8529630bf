"""Checkpoints are complete or absent, whatever happens while they are written."""

from __future__ import annotations

import logging
import random
import threading
import time
from pathlib import Path

import forked
import pytest
import torch
from full_disk import full_disk
from tiny_run import wait_for
from untrained import write_untrained

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.settings import load_config
from oaml_core.store import open_store
from oaml_core.training import keeper as keeping
from oaml_core.training.checkpoints import read_checkpoint, write_checkpoint
from oaml_core.training.keeper import CheckpointKeeper
from oaml_core.training.trained import load_trained


@pytest.fixture(params=["copied", "uncopied"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Small states, and those that count as large."""
    if request.param == "uncopied":
        monkeypatch.setattr(keeping, "UNCOPIED_BYTES", 0)
    return str(request.param)


def write_on_and_on(folder: Path) -> None:
    keeper = CheckpointKeeper(folder, None, "", 3)
    for step in range(1, 10_000_000):
        keeper.save({"config": "x", "weights": torch.full((400_000,), float(step))}, step)


def state(step: int) -> dict[str, object]:
    return {"config": "x", "weights": torch.full((10,), float(step))}


@pytest.mark.usefixtures("either_way")
def test_killed_at_any_moment_the_newest_checkpoint_loads(tmp_path: Path) -> None:
    moments = random.Random(0)
    for number in range(10):
        folder = tmp_path / str(number)
        writer = forked.start(write_on_and_on, folder)
        keeper = CheckpointKeeper(folder, None, "", 3)
        wait_for(lambda keeper=keeper: keeper.newest() is not None)
        time.sleep(moments.uniform(0, 0.1))
        writer.kill()
        writer.join()
        name = keeper.newest()
        assert name is not None
        step = int(name.removeprefix("step-").removesuffix(".ckpt"))
        assert torch.equal(keeper.load(name)["weights"], torch.full((400_000,), float(step)))


@pytest.mark.usefixtures("either_way")
def test_the_newest_few_and_the_best_stay(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path / "run", None, "", 2)
    for step in range(1, 6):
        keeper.save(state(step), step, best=step == 2)
        keeper.wait()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.ckpt",
        "step-0000000004.ckpt",
        "step-0000000005.ckpt",
    ]
    assert read_checkpoint(tmp_path / "run" / "best.ckpt")["weights"][0] == 2


@pytest.mark.usefixtures("either_way")
def test_what_is_saved_is_the_state_at_that_moment(tmp_path: Path) -> None:
    keeper = CheckpointKeeper(tmp_path, None, "", 2)
    weights = torch.zeros(1_000_000)
    keeper.save({"config": "x", "weights": weights}, 1)
    weights += 1
    keeper.wait()
    assert not keeper.load("step-0000000001.ckpt")["weights"].any()


@pytest.mark.usefixtures("either_way")
def test_another_machine_goes_on_from_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    here = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    for step in (1, 2, 3):
        here.save(state(step), step)
        here.wait()
    there = CheckpointKeeper(tmp_path / "there", store, "runs/a", 2)
    name = there.newest()
    assert name == "step-0000000003.ckpt"
    assert there.load(name)["weights"][0] == 3
    assert [info.key for info in store.list("runs/a/step-")] == [
        "runs/a/step-0000000002.ckpt",
        "runs/a/step-0000000003.ckpt",
    ]


@pytest.mark.usefixtures("either_way")
def test_what_a_killed_process_had_begun_to_send_is_removed_from_the_store(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.write_bytes("runs/b/last.json", b"{}")
    for key in ("runs/a/.last.json.0011aabb.tmp", "runs/a/.sha256/.last.json.0011aabb.tmp", "runs/b/.x.0011aabb.tmp"):
        (tmp_path / "store" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "store" / key).write_text("begun")
    assert len(store.unfinished("runs/a/")) == 2
    keeper = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    keeper.save(state(1), 1)
    keeper.wait()
    assert [info.key for info in store.unfinished()] == ["runs/b/.x.0011aabb.tmp"], "another run's stays"
    assert store.unfinished("runs/none/") == []


def test_what_a_killed_process_had_not_sent_is_sent_by_the_next_one_without_a_new_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process that was killed after the last batch."""
    store = open_store(str(tmp_path / "store"))
    keeper = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    keeper.save(state(1), 1)
    keeper.wait()
    (tmp_path / "store/runs/a/.step-0000000002.ckpt.0011aabb.tmp").write_text("begun")
    write_checkpoint(state(2), tmp_path / "here" / "step-0000000002.ckpt")
    following = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    following.send_rest()
    following.wait()
    assert CheckpointKeeper(tmp_path / "there", store, "runs/a", 2).newest() == "step-0000000002.ckpt"
    assert store.unfinished() == []

    (tmp_path / "store/runs/a/.best.ckpt.0011aabb.tmp").write_text("begun")
    last = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    monkeypatch.setattr(store, "put_file", None)  # nothing is sent twice
    last.send_rest()
    last.wait()
    assert store.unfinished() == []
    CheckpointKeeper(tmp_path / "nothing", store, "runs/a", 2).send_rest()


@pytest.mark.usefixtures("either_way")
def test_on_a_full_disk_training_goes_on_and_the_newest_and_the_best_are_written_once_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = CheckpointKeeper(tmp_path, None, "", 3, retry_seconds=0.02)
    large = {"weights": torch.ones(100_000)}
    keeper.save(state(1) | large, 1)
    keeper.wait()
    with full_disk(100_000), caplog.at_level(logging.WARNING):
        for step in range(2, 6):
            keeper.save(state(step) | large, step, best=step == 3)
        wait_for(lambda: caplog.text.count("the previous one stays, and this is tried again") > 1)
        assert keeper.newest() == "step-0000000001.ckpt"
        assert list(keeper.load("step-0000000001.ckpt")["weights"].shape) == [100_000]
    keeper.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt"] + [
        f"step-000000000{step}.ckpt" for step in (1, 3, 5)
    ]
    with full_disk(100_000):
        keeper.save(state(6) | large, 6)
        with pytest.raises(CheckpointError, match="step 6 could not be written"):
            keeper.wait(patience=0.05)


@pytest.mark.usefixtures("either_way")
def test_an_unreachable_store_is_tried_again_and_the_checkpoints_here_are_used_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = tmp_path / "store"
    address.write_text("a file where the store's folder will be")
    keeper = CheckpointKeeper(tmp_path / "run", open_store(str(address)), "runs/a", 2, retry_seconds=0.02)
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            keeper.save(state(step), step, best=step == 1)
        wait_for(lambda: caplog.text.count("is here but not in the store yet") > 1)
        assert keeper.newest() == "step-0000000002.ckpt"
    address.unlink()
    keeper.wait()
    elsewhere = CheckpointKeeper(tmp_path / "elsewhere", open_store(str(address)), "runs/a", 2)
    assert elsewhere.newest() == "step-0000000002.ckpt"
    assert (address / "runs/a/best.ckpt").read_bytes() == (tmp_path / "run/best.ckpt").read_bytes()


def test_a_store_that_does_not_answer_matters_only_where_there_is_no_checkpoint_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreError("the store does not answer")

    store = open_store(str(tmp_path / "store"))
    monkeypatch.setattr(store, "read_bytes", refuse)
    write_checkpoint(state(1), tmp_path / "here" / "step-0000000001.ckpt")
    assert CheckpointKeeper(tmp_path / "here", store, "runs/a", 2).newest() == "step-0000000001.ckpt"
    with pytest.raises(StoreError, match="does not answer"):
        CheckpointKeeper(tmp_path / "nothing", store, "runs/a", 2).newest()


def test_saving_does_not_wait_for_a_write_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = threading.Event()
    written = []

    def slow(content: dict[str, object], path: Path) -> None:
        may_write.wait(20)
        written.append(path.name)
        write_checkpoint(content, path)

    monkeypatch.setattr("oaml_core.training.keeper.write_checkpoint", slow)
    keeper = CheckpointKeeper(tmp_path, None, "", 5)
    for step in range(1, 5):
        keeper.save(state(step), step)
    may_write.set()
    keeper.wait()
    assert written[-1] == "step-0000000004.ckpt"
    assert len(written) <= 2, "states that newer ones replace are not written"


def test_a_large_state_is_written_without_a_copy_and_while_another_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, may_send = open_store(str(tmp_path / "store")), threading.Event()
    put_file = store.put_file

    def slow(path: Path, key: str) -> object:
        may_send.wait(20)
        return put_file(path, key)

    def refuse(_: object) -> None:
        raise AssertionError("it was copied")

    monkeypatch.setattr(store, "put_file", slow)
    monkeypatch.setattr(keeping, "copied", refuse)
    monkeypatch.setattr(keeping, "UNCOPIED_BYTES", 40)
    keeper = CheckpointKeeper(tmp_path / "here", store, "runs/a", 2)
    for step in (1, 2, 3, 4):
        keeper.save(state(step), step, best=step == 2)
        assert keeper.load(f"step-{step:010d}.ckpt")["weights"][0] == step
    with pytest.raises(AssertionError, match="copied"):
        keeper.save({"config": "x", "weights": torch.zeros(9)}, 5)
    may_send.set()
    keeper.wait()
    assert CheckpointKeeper(tmp_path / "there", store, "runs/a", 2).newest() == "step-0000000004.ckpt"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "best.ckpt",
        "step-0000000003.ckpt",
        "step-0000000004.ckpt",
    ]
    assert (tmp_path / "store/runs/a/best.ckpt").read_bytes() == (tmp_path / "here/best.ckpt").read_bytes()
    assert read_checkpoint(tmp_path / "here/best.ckpt")["weights"][0] == 2


def test_a_state_on_another_device_is_copied_however_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "UNCOPIED_BYTES", 0)
    monkeypatch.setattr(keeping, "copied", lambda _: state(1))
    keeper = CheckpointKeeper(tmp_path, None, "", 2)
    keeper.save({"config": "x", "weights": [torch.zeros(9), {"more": torch.zeros(9, device="meta")}]}, 1)
    keeper.wait()
    assert keeper.load("step-0000000001.ckpt")["weights"][0] == 1


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "step-0000000001.ckpt"
    write_checkpoint(state(1), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"step-0000000001\.ckpt cannot be read"):
        read_checkpoint(path)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not an OAML checkpoint"):
        read_checkpoint(tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_no_flipped_bit_of_a_checkpoint_changes_what_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "step-0000000001.ckpt"
    write_checkpoint({"config": "x", "weights": torch.arange(500.0)}, path)
    whole, places, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        content = bytearray(whole)
        content[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path.write_bytes(content)
        try:
            assert torch.equal(read_checkpoint(path)["weights"], torch.arange(500.0))
        except CheckpointError:
            refused += 1
    assert refused > 100, "most bytes matter"


BROKEN = {
    "no weights": ("module", None),
    "weights that are a list": ("module", [1]),
    "weights of another model": ("module", {"recogniser.other": torch.zeros(2)}),
    "no position": ("position", None),
    "a position that is a number": ("position", 7),
    "no fingerprint": ("fingerprint", None),
    "a configuration that is a number": ("config", 7),
    "an average that is a list": ("average", [1]),
}


@pytest.mark.parametrize(("key", "value"), BROKEN.values(), ids=BROKEN)
def test_a_checkpoint_without_the_expected_content_is_named(key: str, value: object, tmp_path: Path) -> None:
    config = load_config(None, ["--model.arch", "ir_mini", "--model.width", "4"])
    path = write_untrained(config, tmp_path / "odd.ckpt")
    content = read_checkpoint(path) | {key: value}
    write_checkpoint({name: each for name, each in content.items() if each is not None}, path)
    with pytest.raises(CheckpointError, match=r"odd\.ckpt does not hold"):
        load_trained(path)
