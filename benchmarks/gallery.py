"""Search of a gallery: time per probe, memory and loading: `python -m benchmarks.gallery --faces 100000`.

Embeddings are random unit vectors; a probe is one of them with noise, at a cosine of about 0.6. The scores do not
matter to the time. Printed are the milliseconds per probe in batches and alone (by the clock, and of the processors'
time), whether the face was found first, the bytes of embeddings in memory, and with `--file` the time to write and to
load a gallery of as many records, local features of `--channels` × 7 × 7 included.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from oaml_core.inference.gallery.database import Gallery
from oaml_core.inference.gallery.packing import pack_record
from oaml_core.inference.gallery.vectors import Vectors
from oaml_core.inference.records import FaceRecords

PART = 20000


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def build(faces: int, size: int, generator: np.random.Generator) -> Vectors:
    vectors = Vectors(size)
    vectors.reserve(faces)
    for start in range(0, faces, PART):
        keys = np.arange(start, min(faces, start + PART))
        vectors.add(keys, unit(generator.standard_normal((len(keys), size), dtype=np.float32)))
    return vectors


def search(vectors: Vectors, count: int, batch: int, generator: np.random.Generator, repeats: int) -> None:
    chosen = generator.choice(len(vectors), batch, replace=False)
    noise = unit(generator.standard_normal((batch, vectors.size), dtype=np.float32))
    probes = unit(0.6 * vectors.rows(chosen) + 0.8 * noise)
    seconds, busy, found = [], [], np.zeros(0)
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        found = vectors.nearest(probes, count)[0]
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - used)
    first = (found[:, 0] == chosen).mean()
    each = 1000 * float(np.median(seconds)) / batch
    cores = 1000 * float(np.median(busy)) / batch
    print(f"  batches of {batch:>3}: {each:8.3f} ms per probe ({cores:.3f} ms of processors), ", end="")
    print(f"found first {100 * first:.1f} %, top {count}")


def write_and_load(faces: int, size: int, channels: int, generator: np.random.Generator) -> None:
    with tempfile.TemporaryDirectory() as folder, Gallery(Path(folder) / "g", "random") as gallery:
        start = time.perf_counter()
        visible, local = np.ones((1, 1, 7, 7), np.float32), generator.standard_normal((1, channels, 7, 7))
        for first in range(0, faces, PART):
            rows = unit(generator.standard_normal((min(PART, faces - first), size), dtype=np.float32))
            with gallery.change() as db:
                for row, embedding in enumerate(rows, start=first + 1):
                    packed = pack_record(FaceRecords(embedding[None], visible, local.astype(np.float32)))
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
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--file", action="store_true", help="also write and load a gallery file")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    vectors = build(options.faces, options.size, generator)
    print(f"{options.faces} faces × {options.size}: {vectors.memory / 2**20:.0f} MiB of embeddings")
    for batch in (1, 16, 64, 256):
        search(vectors, options.top, batch, generator, options.repeats)
    if options.file:
        write_and_load(options.faces, options.size, options.channels, generator)
    print(f"  largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()
