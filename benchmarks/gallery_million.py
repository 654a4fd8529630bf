"""Search of a million embeddings beside faiss: `OMP_NUM_THREADS=1 python -m benchmarks.gallery_million`.

The vectors follow the recipe of the synthetic set in faiss (`faiss.contrib.datasets`): normal numbers in 10 dimensions,
a random linear map into `--size`, each of those scaled by a random factor from 0.1 to 4.1, and the sine of each. Here
they are scaled to length 1, as embeddings are, and compared by inner product. Probes are further vectors of the same
map. Their true neighbours are those of faiss' flat index, which compares all.

Each search runs in a process of its own, so that the memory is that of one search: it holds the vectors, builds, and
looks for the 100 nearest of each probe. Told are recall@1 and @10 (the share of the true 1 or 10 nearest among the
first 1 or 10 found), the share of the true nearest among all 100, milliseconds of processor time per probe, alone and
in a batch of 64, seconds of processor time to build, bytes per vector that the search itself takes in memory, and the
most memory of its process. OAML's rows and faiss' flat index keep the vectors themselves; HNSW keeps them and
`--links` links for each. `--out benchmarks/figures/gallery-curved.json` keeps the table for
`python -m benchmarks.figures`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import figures
from benchmarks.gallery import Search, faiss_flat, faiss_hnsw, ours, unit
from benchmarks.told import run

COLUMNS = [
    "search",
    "recall@1, %",
    "recall@10, %",
    "nearest in 100, %",
    "ms alone",
    "ms in 64",
    "build, s",
    "bytes per face",
    "process, MiB",
]
FLAT, ALL, CODES, HNSW = "faiss flat", "OAML, all compared", "OAML, chosen by codes", "faiss HNSW"
KINDS = [ALL, CODES, HNSW]
INTRINSIC = 10
"""Dimensions of the set before the map."""
PART = 20_000
TOP, BATCH, ALONE = 100, 64, 12
MEBIBYTE = 2**20
Floats = NDArray[np.float32]


class Recipe(NamedTuple):
    """The set of vectors."""

    faces: int
    size: int
    probes: int


class TimedSearch(NamedTuple):
    """One search of the set."""

    nearest: NDArray[np.int64]
    """[p, 100], rows of the faces that were found, best first."""
    figures: list[figures.Cell]
    """Times, and memory: the columns from `ms alone` on."""


def draw_curved(recipe: Recipe, seed: int = 0) -> tuple[Floats, Floats]:
    """Return vectors [faces, size] and probes [probes, size], of unit length."""
    generator = np.random.default_rng(seed)
    into = generator.random((INTRINSIC, recipe.size), dtype=np.float32)
    factors = generator.random(recipe.size, dtype=np.float32) * 4 + np.float32(0.1)
    rows = np.empty((recipe.faces + recipe.probes, recipe.size), np.float32)
    for start in range(0, len(rows), PART):
        part = rows[start : start + PART]
        part[:] = generator.standard_normal((len(part), INTRINSIC), dtype=np.float32) @ into
        part *= factors
        np.sin(part, out=part)
        part[:] = unit(part)
    return rows[: recipe.faces], rows[recipe.faces :]


def look(recipe: Recipe, build: Callable[[Floats], dict[str, Search]]) -> dict[str, TimedSearch]:
    """Draw the set, build searches of it that share what is built, and search; by name."""
    rows, probes = draw_curved(recipe)
    before = resident()
    start = time.process_time()
    searches = build(rows)
    built = time.process_time() - start
    taken = (resident() - before) / len(rows)
    found = {}
    for name, search in searches.items():
        ones = [probes[row : row + 1] for row in range(min(ALONE, len(probes)))]
        alone = [_milliseconds(partial(search, one, TOP)) for one in ones]
        nearest, batch = [], []
        for row in range(0, len(probes), BATCH):
            some = probes[row : row + BATCH]
            start = time.process_time()
            nearest.append(search(some, TOP))
            batch.append(1000 * (time.process_time() - start) / len(some))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEBIBYTE
        found[name] = TimedSearch(
            np.concatenate(nearest), [float(np.median(alone)), float(np.median(batch)), built, taken, most]
        )
    return found


def resident() -> int:
    """Return the memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def recall(found: NDArray[np.int64], truth: NDArray[np.int64], count: int) -> float:
    """Return the mean share of the true `count` nearest [p, n] among the first `count` that were found [p, n]."""
    shared = [len(np.intersect1d(a[:count], b[:count])) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(shared)) / count


def row_of(name: str, found: TimedSearch, truth: NDArray[np.int64]) -> list[figures.Cell]:
    """Return the row of one search, given the true neighbours [p, n]."""
    held = float(np.mean((found.nearest == truth[:, :1]).any(1)))
    shares = [recall(found.nearest, truth, 1), recall(found.nearest, truth, 10), held]
    return [name, *(100 * share for share in shares), *found.figures]


def _milliseconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return 1000 * (time.process_time() - start)


def _build(rows: Floats, kind: str, threads: int, links: int, widths: list[int]) -> dict[str, Search]:
    if kind == FLAT:
        return {kind: faiss_flat(rows, threads)}
    if kind in (ALL, CODES):
        return {kind: ours(rows, exact=kind == ALL)}
    return {f"{kind}, width {width}": search for width, search in faiss_hnsw(rows, threads, widths, links).items()}


def _in_own_process(recipe: Recipe, *how: Any) -> dict[str, TimedSearch]:
    return look(recipe, lambda rows: _build(rows, *how))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1_000_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--probes", type=int, default=192)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="searches beside faiss flat")
    parser.add_argument("--hnsw", type=int, nargs="*", default=[128, 512], help="widths of HNSW's search")
    parser.add_argument("--links", type=int, default=16, help="links per vector of HNSW")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    recipe = Recipe(options.faces, options.size, options.probes)
    rows: list[list[figures.Cell]] = []
    truth: NDArray[np.int64] | None = None
    for kind in [FLAT, *options.kinds]:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            searches = pool.apply(_in_own_process, (recipe, kind, threads, options.links, options.hnsw))
        for name, found in searches.items():
            truth = found.nearest if truth is None else truth
            rows.append(row_of(name, found, truth))
            print(" | ".join(str(cell) for cell in rows[-1]), flush=True)
        if options.out is not None:
            command = f"OMP_NUM_THREADS={threads} {figures.command('benchmarks.gallery_million', sys.argv[1:])}"
            figures.write(figures.measured(command, COLUMNS, rows, ["faiss-cpu", "numpy"]), options.out)


if __name__ == "__main__":
    run(main)
