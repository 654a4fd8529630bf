"""OAML's gallery beside embedded vector stores: `OMP_NUM_THREADS=1 python -m benchmarks.gallery_engines`.

Measured are LanceDB, milvus-lite and Qdrant's local mode (`pip install lancedb pylance pymilvus milvus-lite
qdrant-client`), each as `benchmarks.engine_adapters` opens it. Stores that are not installed are left out, and said so.
The vectors are those of `benchmarks.gallery_million`, the same for all; a store that advises against so many faces
gets the most that it names. One process builds a store, the next one searches it, and again one deletes. Told are:

- seconds of processor time to write all faces and build the index; bytes per face on disk;
- recall@1 and @10 among 100 faces asked for, against all compared; milliseconds of processor time per probe; seconds of
  processor time until the first answer of a process that has just opened the store; most memory of that process;
- of `--deleted` people, whose names or vectors the files' bytes hold: before, after deleting them, after the store's
  own compaction, and after what else there is (`Engine.rewrite`) and closing;
- `--kills` times a process writes one face after the other, tells each once the store has acknowledged it, and is
  killed with SIGKILL at a random moment: faces acknowledged, and how many of them are gone. That the machine loses
  its power is not measured: what a process hands to the system outlives the process.

`--out benchmarks/figures/gallery-engines.json` keeps the table for `python -m benchmarks.figures`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import figures
from benchmarks.engine_adapters import ENGINES, Floats, is_installed, name_of
from benchmarks.gallery_million import TOP, Recipe, draw_curved, recall
from benchmarks.told import run

COLUMNS = [
    "store",
    "faces",
    "build, s",
    "bytes per face",
    "recall@1, %",
    "recall@10, %",
    "ms per probe",
    "first answer, s",
    "process, MiB",
    "deleted people in the files",
    "acknowledged, lost",
]
QUIET = {"LANCE_LOG": "error", "GRPC_VERBOSITY": "ERROR"}
WRITTEN = 40
"""Most faces that a process writes before it is killed."""
LONGEST = 0.03
"""Seconds until the kill after the last of them, at most."""


class Traces(NamedTuple):
    """Deleted people whose names or vectors the files hold."""

    before: int
    deleted: int
    compacted: int
    rewritten: int


def build(name: str, folder: Path, recipe: Recipe) -> float:
    """Write all faces into a new store; return the seconds of processor time."""
    rows = draw_curved(recipe)[0]
    start = time.process_time()
    engine = ENGINES[name](folder, recipe.size)
    engine.build(rows)
    engine.close()
    return time.process_time() - start


def search(name: str, folder: Path, recipe: Recipe) -> tuple[NDArray[np.int64], list[figures.Cell]]:
    """Return the nearest faces [p, 100] of all probes, and ms per probe, s to the first answer, and MiB."""
    vectors, probes = draw_curved(recipe)
    probes = probes.copy()
    del vectors
    start = time.process_time()
    engine = ENGINES[name](folder, recipe.size)
    found = [engine.nearest(probes[0], TOP)]
    first = time.process_time() - start
    times = []
    for probe in probes[1:]:
        start = time.process_time()
        found.append(engine.nearest(probe, TOP))
        times.append(1000 * (time.process_time() - start))
    engine.close()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return np.array(found), [float(np.median(times)), first, most]


def delete(name: str, folder: Path, recipe: Recipe, keys: Sequence[int]) -> Traces:
    """Delete people, compact, and look for them in the files' bytes."""
    vectors = draw_curved(recipe)[0][list(keys)]
    before = people_in(folder, keys, vectors)
    engine = ENGINES[name](folder, recipe.size)
    engine.remove(keys)
    deleted = people_in(folder, keys, vectors)
    engine.compact()
    compacted = people_in(folder, keys, vectors)
    engine.rewrite()
    engine.close()
    return Traces(before, deleted, compacted, people_in(folder, keys, vectors))


def forms_of(key: int, vector: Floats) -> list[bytes]:
    """Return what betrays a person in a file: the name, and the vector's first numbers as stores write them."""
    few = [float(value) for value in vector[:8]]
    pickled = b"".join(b"G" + struct.pack(">d", value) for value in few)
    return [name_of(key).encode(), vector[:8].astype("<f4").tobytes(), np.array(few, "<f8").tobytes(), pickled]


def people_in(folder: Path, keys: Sequence[int], vectors: Floats) -> int:
    """Return how many people's names or vectors [n, size] the files of a folder hold in plain bytes."""
    files = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()]
    return sum(
        any(form in data for data in files for form in forms_of(key, vector))
        for key, vector in zip(keys, vectors, strict=True)
    )


def write_for_ever(name: str, folder: Path, size: int, first: int) -> None:
    """Write faces with the keys `first`, `first` + 1 … until somebody ends the process, and print each key."""
    rows = draw_curved(Recipe(1000, size, 0))[0]
    engine = ENGINES[name](folder, size)
    for key in range(first, first + 10**6):
        engine.add(key, rows[key % len(rows)])
        print(key, flush=True)


def kill_once(name: str, folder: Path, size: int, first: int, generator: np.random.Generator) -> list[int]:
    """Let a process write, and kill it; return the keys that it acknowledged."""
    words = [sys.executable, "-m", "benchmarks.gallery_engines", "--write", name, str(folder), str(size), str(first)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(int(generator.integers(1, WRITTEN)))]
    time.sleep(float(generator.uniform(0, LONGEST)))
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines()
    process.wait()
    return [int(line) for line in said if line.strip()]


def kill_many(name: str, folder: Path, size: int, kills: int) -> tuple[int, int]:
    """Return how many faces killed processes had acknowledged, and how many of these the store does not have."""
    generator = np.random.default_rng(0)
    acknowledged: set[int] = set()
    for number in range(kills):
        acknowledged.update(kill_once(name, folder, size, 1000 * number, generator))
    engine = ENGINES[name](folder, size)
    lost = acknowledged - engine.keys()
    engine.close()
    return len(acknowledged), len(lost)


def in_own_process(task: Any, *values: Any) -> Any:
    """Return what a task returns in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(task, values)


def measure(name: str, scratch: Path, recipe: Recipe, deleted: int, kills: int) -> list[figures.Cell]:
    """Return the row of one store."""
    most = getattr(ENGINES[name], "most", None)
    recipe = recipe._replace(faces=min(recipe.faces, most or recipe.faces))
    built = in_own_process(build, name, scratch / "all", recipe)
    size = sum(path.stat().st_size for path in (scratch / "all").rglob("*") if path.is_file())
    vectors, probes = draw_curved(recipe)
    truth = np.argsort(-(probes @ vectors.T), axis=1, kind="stable")[:, :TOP]
    del vectors
    found, times = in_own_process(search, name, scratch / "all", recipe)
    keys = np.sort(np.random.default_rng(0).choice(recipe.faces, deleted, replace=False)).tolist()
    traces = in_own_process(delete, name, scratch / "all", recipe, keys)
    killed = None
    if not getattr(ENGINES[name], "indexed", False):
        killed = "{}, {}".format(*in_own_process(kill_many, name, scratch / "killed", recipe.size, kills))
    shares = [100 * recall(found, truth, count) for count in (1, 10)]
    left = f"{' → '.join(map(str, traces))} of {deleted}"
    return [name, recipe.faces, built, size / recipe.faces, *shares, *times, left, killed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--probes", type=int, default=50)
    parser.add_argument("--deleted", type=int, default=10)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(ENGINES), choices=list(ENGINES), metavar="STORE")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.update(QUIET)
    if options.write is not None:
        name, folder, size, first = options.write
        write_for_ever(name, Path(folder), int(size), int(first))
        return
    rows = []
    for name in options.only:
        if not is_installed(name):
            print(f"{name} is left out: it is not installed.", flush=True)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            recipe = Recipe(options.faces, options.size, options.probes)
            rows.append(measure(name, Path(scratch), recipe, options.deleted, options.kills))
        print(" | ".join(str(cell) for cell in rows[-1]), flush=True)
        if options.out is not None:
            command = figures.command("benchmarks.gallery_engines", sys.argv[1:])
            threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
            libraries = ["lancedb", "pylance", "pymilvus", "milvus-lite", "qdrant-client", "numpy"]
            table = figures.measured(f"OMP_NUM_THREADS={threads} {command}", COLUMNS, rows, libraries)
            figures.write(table, options.out)


if __name__ == "__main__":
    run(main)
