"""Commands at sizes that a set of a large team has: the memory of all their processes, against a bound that is stated.

    python -m benchmarks.load prepare [--count 200000]     # images of `oaml prepare`
    python -m benchmarks.load evaluate [--count 20000]     # images of `oaml evaluate`, clean and under one occluder
    python -m benchmarks.load classes [--count 1000000]    # identities of `oaml train`, one worker, with a checkpoint

The data is made first: drawn faces, each file made another by a number behind its last byte. Memory is what the command
and all that it starts hold and could not give back: proportional set size without pages of files, looked at four times
a second. What is made on the disk needs about 35 kB an image, and 15 GB for a million classes. Exits with 1 where a
command fails or takes more than its bound.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count as numbers
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from benchmarks import figures
from oaml_core.data.sources.drawn_people import draw_identities
from oaml_core.data.sources.recordio import frame_record
from oaml_core.data.sources.synthetic_faces import draw_faces
from oaml_core.decoding.decode import encode_jpeg

COLUMNS = ["command", "images or people", "s", "peak, MiB", "bound, MiB"]
GIB = 2**30
DRAWN = 64
"""Different faces; the files differ in their last bytes as well."""
PER_IDENTITY = 20
EMBEDDING_BYTES = 512 * 4
STEPS = 12
"""Batches of a training before it is asked to end."""
EVERY_SECONDS = 0.25
SMALL = (
    "--tracking.wandb",
    "off",
    "--model.arch",
    "ir_mini",
    "--model.width",
    "8",
    "--data.batch_size",
    "32",
    "--data.num_workers",
    "1",
)


class Load(NamedTuple):
    """A command with the memory that it may take."""

    words: list[str]
    """Words after `oaml`."""
    bound: float
    """Most bytes that all processes together may take."""
    ends_after: str = ""
    """Words of a line after which the command is asked to end."""


def drawn(seed: int, quality: int = 95) -> Iterator[bytes]:
    """Yield JPEGs without end, no two of which are equal."""
    generator = np.random.default_rng(seed)
    owners = np.arange(DRAWN)
    faces = [
        encode_jpeg(face, quality) for face in draw_faces(draw_identities(DRAWN, generator), owners, generator).images
    ]
    for number in numbers():
        yield faces[number % DRAWN] + number.to_bytes(8, "little")


def write_training(folder: Path, images: int, per_identity: int, quality: int = 95) -> None:
    """Write `train.rec` and `train.idx`."""
    with (folder / "train.rec").open("wb") as file, (folder / "train.idx").open("w") as index:
        for number, encoded in zip(range(images), drawn(0, quality), strict=False):
            index.write(f"{number + 1}\t{file.tell()}\n")
            file.write(frame_record(encoded, (float(number // per_identity),), number + 1))


def write_pairs(path: Path, images: int) -> None:
    """Write a verification set as published: half of its pairs are genuine."""
    pairs = images // 2
    made = drawn(1)
    encoded = [next(made) for _ in range(2 * pairs)]
    path.write_bytes(pickle.dumps((encoded, [number % 2 == 0 for number in range(pairs)])))


def prepare(folder: Path, count: int) -> Load:
    """Read, check, pack and store training images; two processes decode."""
    write_training(folder / "data", count, PER_IDENTITY)
    write_pairs(folder / "data" / "lfw.bin", 200)
    return Load(["prepare", "--data.source", str(folder / "data")], 1.5 * GIB)


def evaluate(folder: Path, count: int) -> Load:
    """Describe and compare the images of a verification set, by a model that nobody trained."""
    write_training(folder / "data", 400, PER_IDENTITY)
    write_pairs(folder / "data" / "lfw.bin", 200)
    source = ("--data.source", str(folder / "data"))
    run(folder, Load(["train", "--launcher", "none", *source, *SMALL, "--optim.epochs", "1"], 4 * GIB))
    (checkpoint,) = (folder / "work").rglob("best.ckpt")
    write_pairs(folder / "data" / "lfw.bin", count)
    occluder = ("--evaluate.occluders", "[surgical]", "--evaluate.block_shares", "[]", "--evaluate.sides", "[second]")
    words = ["evaluate", "--checkpoint", str(checkpoint), *source, *SMALL, *occluder]
    # A face's feature map is 64 × 7 × 7 floats here; they are kept on the disk.
    return Load(words, 2 * GIB)


def classes(folder: Path, count: int) -> Load:
    """Train a classifier of so many identities for some steps, and write a checkpoint."""
    write_training(folder / "data", count, 1, quality=10)
    write_pairs(folder / "data" / "lfw.bin", 200)
    source = ("--data.source", str(folder / "data"))
    sampled = ("--model.sample_rate", "0.01", "--train.log_every_steps", "1")
    # Embeddings of 512 numbers, as those of published backbones.
    words = ["train", "--launcher", "none", *source, *SMALL, "--model.arch", "ir_18", *sampled]
    # Weights and momentum, of which a checkpoint takes no copy; the rest is the network's batches, and the programs.
    return Load(words, 2 * EMBEDDING_BYTES * count + 4 * GIB, ends_after=f"batch {STEPS}/")


def memory(process: psutil.Process) -> int:
    """Return what a process and all that it has started hold, in bytes: the system can drop pages of files, and reads
    them again when they are wanted.
    """
    total = 0
    with suppress(psutil.Error):
        for one in (process, *process.children(recursive=True)):
            with suppress(OSError):
                lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon", "Pss_Shmem")))
    return 1024 * total


def run(folder: Path, load: Load) -> tuple[float, int]:
    """Run a command to its end; seconds, and peak memory in bytes.

    Raises:
        SystemExit: it failed.
    """
    words = [*load.words, "--store", str(folder / "store"), "--work_dir", str(folder / "work")]
    said = folder / "said.txt"
    began, peak, asked = time.monotonic(), 0, False
    with said.open("w") as out:
        started = subprocess.Popen([sys.executable, "-m", "oaml_core.cli", *words], stdout=out, stderr=out)
        process = psutil.Process(started.pid)
        while started.poll() is None:
            peak = max(peak, memory(process))
            if load.ends_after and not asked and load.ends_after in said.read_text():
                started.send_signal(signal.SIGTERM)
                asked = True
            time.sleep(EVERY_SECONDS)
    if started.returncode != (128 + signal.SIGTERM if asked else 0):
        raise SystemExit(f"oaml {' '.join(words)} ended with {started.returncode}:\n{said.read_text()[-3000:]}")
    return time.monotonic() - began, peak


def _mib(size: int) -> int:
    return round(size / 2**20)


PARTS = {"prepare": (prepare, 200_000), "evaluate": (evaluate, 20_000), "classes": (classes, 1_000_000)}


def main() -> None:
    """Run one command at its size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--count", type=int, help="images or identities")
    parser.add_argument("--folder", type=Path, help="where the data is made; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    make, usual = PARTS[options.part]
    count = options.count or usual
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        (folder / "data").mkdir()
        load = make(folder, count)
        seconds, peak = run(folder, load)
    row: list[figures.Cell] = [f"oaml {load.words[0]}", count, round(seconds, 1), *map(_mib, (peak, load.bound))]
    if options.out:
        command = figures.command("benchmarks.load", sys.argv[1:])
        figures.write(figures.measured(command, COLUMNS, [row], ["torch", "numpy"]), options.out)
    for name, cell in zip(COLUMNS, row, strict=True):
        print(f"{name:<24} {cell}")
    if peak > load.bound:
        sys.exit(f"{options.part} took more than its bound.")


if __name__ == "__main__":
    main()
