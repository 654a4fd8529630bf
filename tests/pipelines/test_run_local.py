"""The pipeline on one machine: from nothing to a model, and out of the way when it is stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from oaml_core.store import open_store

STUBBORN = """
import signal, subprocess, sys, time
if len(sys.argv) == 2 and sys.argv[1] == "child":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("child is up", flush=True)
    time.sleep(120)
else:
    subprocess.run([sys.executable, "-m", "stubborn", "child"])
"""
WITH_STUB = (
    "from pipelines import local_pipeline, run_local\n"
    "local_pipeline.GRAPH, local_pipeline.GRACE_SECONDS = 'stubborn', 1\n"
    "run_local.main()"
)


def wait_for(process: subprocess.Popen[str], words: str) -> list[str]:
    """Lines up to the one that has `words` in it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} did not come:\n{''.join(lines)}")


def stop(process: subprocess.Popen[str], number: int) -> tuple[str, list[psutil.Process]]:
    """Signal the process; what it says then, and those of its descendants that are still there after it has ended."""
    tree = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    said, _ = process.communicate(timeout=90)
    return said, [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def contents(path: Path) -> Iterator[bytes]:
    """What a file holds, and what is packed in it: checkpoints and arrays are zip archives."""
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def files_with(word: str, folder: Path) -> set[str]:
    """Names of the files below `folder` that hold `word`, or are called by it."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.name for path in found if word in str(path) or any(word.encode() in each for each in contents(path))}


def test_from_nothing_to_a_model(tiny_run) -> None:  # type: ignore[no-untyped-def]
    tiny_work, said, _ = tiny_run
    folder = tiny_work / ".oaml" / "tiny"
    for name in ("report.html", "metrics.json", "model.onnx", "best.ckpt"):
        assert (folder / name).stat().st_size > 0, said
        assert f".oaml/tiny/{name}" in said
    headline = json.loads((folder / "metrics.json").read_text())["headline"]
    table = [line.split() for line in said.splitlines() if line.startswith(("  clean ", "  covered "))]
    assert [float(row[1]) for row in table] == pytest.approx(
        [100 * headline[f"val_accuracy_{name}_global"] for name in ("clean", "occluded")], abs=0.01
    )
    for stage in (
        "plan-shards: 2 shards",
        "prepare-shard: shard 1",
        "prepare: 32 images of 8 identities",
        "train: val_acc",
        "evaluate: ",
        "export: ",
        "promote: ",
    ):
        assert stage in said
    assert "plan-shards: 2 shards" in said
    assert "prepare-shard: shard 1" in said
    assert "plan-evaluation: 2 shards" in said
    assert "evaluate-shard: shard 1/2" in said
    for noise in ("KFP", "executor", "{", "Traceback", "Warning"):
        assert noise not in said
    stored = open_store(str(tiny_work / ".oaml" / "s3" / "oaml" / "tiny"))
    assert json.loads(stored.read_bytes("models/production.json"))["model_uri"].endswith("model.onnx")


def test_nothing_that_a_run_shows_or_leaves_holds_a_credential(tiny_run) -> None:  # type: ignore[no-untyped-def]
    for credential in tiny_run.credentials:
        assert credential not in tiny_run.said
        assert files_with(credential, tiny_run.folder) == set()
    searched = {"report.html", "metrics.json", "model.onnx", "MODEL_CARD.md", "best.ckpt", "config.yaml", "export.json"}
    assert searched <= files_with("ir_mini", tiny_run.folder)  # so that a credential would be found in them


@pytest.mark.slow
def test_a_second_run_does_not_train_again(tiny_run, start) -> None:  # type: ignore[no-untyped-def]
    tiny_work = tiny_run.folder
    before = json.loads((tiny_work / ".oaml" / "tiny" / "metrics.json").read_text())
    said, _ = start(tiny_work).communicate(timeout=300)
    assert "epoch" not in said
    assert said.count("(was there already)") >= 2
    assert json.loads((tiny_work / ".oaml" / "tiny" / "metrics.json").read_text())["headline"] == before["headline"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopping_ends_even_tasks_that_do_not_listen(
    tiny_work: Path,
    start,  # type: ignore[no-untyped-def]
    number: int,
    code: int,
) -> None:
    (tiny_work / "stubborn.py").write_text(STUBBORN)
    process = start(tiny_work, program=WITH_STUB)
    wait_for(process, "child is up")
    tree = psutil.Process(process.pid).children(recursive=True)
    assert any(child.name().startswith("rclone") for child in tree)
    assert len(tree) == 3
    said, left = stop(process, number)
    assert (process.returncode, left) == (code, [])
    assert "Traceback" not in said


@pytest.mark.slow
def test_stopping_while_it_trains(tiny_work: Path, start) -> None:  # type: ignore[no-untyped-def]
    process = start(tiny_work, "--name", "stopped", "--optim.epochs", "400")
    wait_for(process, "epoch 1/400")
    assert len(psutil.Process(process.pid).children(recursive=True)) >= 5  # rclone, graph, task, torchrun, two workers
    began = time.monotonic()
    said, left = stop(process, signal.SIGINT)
    assert (process.returncode, left) == (130, []), said
    assert time.monotonic() - began < 45
    assert "Traceback" not in said
    assert list((tiny_work / ".oaml").glob("runs/stopped-*/checkpoints/step-*.ckpt")), said
    assert not list((tiny_work / ".oaml").rglob("*.tmp"))


def test_a_stage_that_fails_says_why(tiny_work: Path, start) -> None:  # type: ignore[no-untyped-def]
    process = start(tiny_work, "--data.source", "nowhere")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    reason, stage, last = said.splitlines()
    assert reason.startswith("oaml: ")
    assert "nowhere" in reason
    assert stage == "failed: 'preprocess'."
    assert last.startswith("oaml: the pipeline stopped")


def test_output_that_nobody_reads_stops_the_run(tiny_work: Path, start) -> None:  # type: ignore[no-untyped-def]
    (tiny_work / "stubborn.py").write_text(
        STUBBORN.replace("time.sleep(120)", "[print(n, flush=True) for n in range(10**9)]")
    )
    process = start(tiny_work, program=WITH_STUB)
    wait_for(process, "child is up")
    tree = psutil.Process(process.pid).children(recursive=True)
    process.stdout.close()
    process.wait(timeout=30)
    assert [p for p in tree if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def test_a_mistyped_key_is_refused_before_anything_starts(tiny_work: Path, start) -> None:  # type: ignore[no-untyped-def]
    process = start(tiny_work, "--optim.epohcs", "3")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "optim.epochs" in said
