"""Search of a gallery beside faiss: `OMP_NUM_THREADS=1 python -m benchmarks.gallery --faces 100000 --hnsw 128`.

Embeddings are random unit vectors (normal numbers of a fixed seed, scaled to length 1), the hardest case: no two are
alike, and no dimension says more than another. A probe is one of them plus a random unit vector, weighted so that their
cosine is that of `COSINES`; 0.25 is near what decides at all. faiss' flat index compares all, exactly; its HNSW has
`LINKS` links per vector, the library's width while it builds, and the widths of `--hnsw` while it searches. faiss
searches embeddings alone, as all searches do here. Printed are, by search, the
milliseconds of processor time per probe, alone and in a batch of 64, the share of probes whose face is in the shortlist
of `--top` faces, by cosine, and the seconds of processor time to build. All searches run in one process, one after the
other. With `--file`: the time to write and to load a gallery, with local features of `--channels` × 7 × 7, or with one
local vector of `--local` numbers a face. `--out benchmarks/figures/gallery-search.json` keeps the table for
`python -m benchmarks.figures`.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import figures
from benchmarks.told import run
from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.gallery.vectors import Vectors
from oaml_core.inference.records import UNKNOWN, FaceRecords

PART = 20000
COSINES = (0.2, 0.25, 0.3, 0.4, 0.6)
ALONE, BATCH, REPEATS = 40, 64, 5
LINKS = 32
"""Links per vector of faiss' HNSW."""
Probes = tuple[np.ndarray, np.ndarray]
"""Faces that are meant, and embeddings."""
Search = Callable[[np.ndarray, int], np.ndarray]
"""Keys of the nearest faces of each probe."""


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def draw(faces: int, size: int, generator: np.random.Generator) -> np.ndarray:
    rows = np.empty((faces, size), np.float32)
    for start in range(0, faces, PART):
        rows[start : start + PART] = unit(generator.standard_normal(rows[start : start + PART].shape, np.float32))
    return rows


def draw_probes(rows: np.ndarray, count: int, generator: np.random.Generator) -> dict[float, Probes]:
    found = {}
    for cosine in COSINES:
        chosen = generator.choice(len(rows), count, replace=False)
        noise = unit(generator.standard_normal((count, rows.shape[1]), dtype=np.float32))
        found[cosine] = chosen, unit(cosine * rows[chosen] + float(np.sqrt(1 - cosine**2)) * noise)
    return found


def measure(name: str, build: Callable[[], Search], probes: dict[float, Probes], top: int) -> list[figures.Cell]:
    """Print the row of one search, and return it."""
    start = time.process_time()
    search = build()
    built = time.process_time() - start
    some = probes[COSINES[0]][1]
    alone = [_milliseconds(lambda one=some[row : row + 1]: search(one, top)) for row in range(ALONE)]
    batch = [_milliseconds(lambda: search(some[:BATCH], top)) / BATCH for _ in range(REPEATS)]
    shares = [
        float(np.mean([face in near for face, near in zip(faces, search(rows, top), strict=True)]))
        for faces, rows in probes.values()
    ]
    found = " ".join(f"{100 * share:6.1f}" for share in shares)
    print(f"  {name:<28} {np.median(alone):8.2f} {np.median(batch):8.2f}  {found}  {built:8.1f}", flush=True)
    times = [float(np.median(alone)), float(np.median(batch))]
    return [name, *times, *(100 * share for share in shares), built]


def _milliseconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return 1000 * (time.process_time() - start)


def ours(rows: np.ndarray, *, exact: bool) -> Search:
    vectors = Vectors(rows.shape[1], exact=exact)
    vectors.reserve(len(rows))
    vectors.add(np.arange(len(rows)), rows)
    vectors.prepare()
    return lambda probes, top: vectors.nearest(probes, top)[0]


def faiss_flat(rows: np.ndarray, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return lambda probes, top: index.search(probes, top)[1]


def faiss_hnsw(rows: np.ndarray, threads: int, widths: Sequence[int], links: int = LINKS) -> dict[int, Search]:
    """Return searches of one index by width."""
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexHNSWFlat(rows.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)

    def search(width: int, probes: np.ndarray, top: int) -> np.ndarray:
        index.hnsw.efSearch = width
        found: np.ndarray = index.search(probes, top)[1]
        return found

    return {width: partial(search, width) for width in widths}


def write_and_load(faces: int, size: int, channels: int, local_size: int, generator: np.random.Generator) -> None:
    with tempfile.TemporaryDirectory() as folder, Gallery(Path(folder) / "g", "random") as gallery:
        start = time.perf_counter()
        visible, local = np.ones((1, 1, 7, 7), np.float32), generator.standard_normal((1, channels, 7, 7))
        vector = unit(generator.standard_normal((1, local_size), dtype=np.float32)) if local_size else UNKNOWN
        for first in range(0, faces, PART):
            rows = unit(generator.standard_normal((min(PART, faces - first), size), dtype=np.float32))
            with gallery.change() as db:
                for row, embedding in enumerate(rows, start=first + 1):
                    parts = embedding[None], visible, local.astype(np.float32), np.ones(1, np.float32), vector
                    packed = pack_record(FaceRecords(*parts))
                    db.execute("INSERT INTO people VALUES (?, ?)", (row, f"person {row}"))
                    db.execute("INSERT INTO faces VALUES (?, ?, '', ?, '', '', NULL)", (row, row, str(row)))
                    db.execute("INSERT INTO records VALUES (?, 'random', ?, ?)", (row, *packed))
        size_on_disk = gallery.path.stat().st_size / faces
        print(f"  written in {time.perf_counter() - start:.1f} s, {size_on_disk:.0f} bytes per face")
        start = time.perf_counter()
        vectors = Vectors(size)
        vectors.reserve(faces)
        keys = gallery.face_keys()
        for first in range(0, faces, 4096):
            found = gallery.embeddings(keys[first : first + 4096])
            vectors.add(np.array(list(found)), np.stack([np.frombuffer(one, "<f4") for one in found.values()]))
        print(f"  embeddings loaded in {time.perf_counter() - start:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--local", type=int, default=0, help="numbers of a local vector, in place of features")
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--probes", type=int, default=400)
    parser.add_argument(
        "--hnsw", type=int, nargs="*", default=[], help="search widths of faiss' HNSW; it builds slowly"
    )
    parser.add_argument("--file", action="store_true", help="also write and load a gallery file")
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    generator = np.random.default_rng(0)
    rows = draw(options.faces, options.size, generator)
    probes = draw_probes(rows, options.probes, generator)
    print(
        f"{options.faces} faces × {options.size}, {threads} threads, ms of processor time per probe; % in {options.top}"
    )
    cosines = " ".join(f"{cosine:6.2f}" for cosine in COSINES)
    print(f"  {'search':<28} {'alone':>8} {'batch':>8}  {cosines}  {'build s':>8}")
    searches: dict[str, Callable[[], Search]] = {
        "all, exact": lambda: ours(rows, exact=True),
        "chosen by codes": lambda: ours(rows, exact=False),
        "faiss flat": lambda: faiss_flat(rows, threads),
    }
    for width in options.hnsw:
        searches[f"faiss HNSW, width {width}"] = lambda width=width: faiss_hnsw(rows, threads, [width])[width]
    table = [measure(name, build, probes, options.top) for name, build in searches.items()]
    if options.out is not None:
        words = ["--faces", options.faces, "--size", options.size, "--top", options.top, "--hnsw", *options.hnsw]
        command = f"OMP_NUM_THREADS={threads} python -m benchmarks.gallery {' '.join(map(str, words))}"
        shares = [f"in {options.top} at {cosine}, %" for cosine in COSINES]
        columns = ["search", "ms alone", f"ms in {BATCH}", *shares, "build, s"]
        figures.write(figures.measured(command, columns, table, ["faiss-cpu", "numpy"]), options.out)
    if options.file:
        write_and_load(options.faces, options.size, options.channels, options.local, generator)
    print(f"  largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    run(main)
