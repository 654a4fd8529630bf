"""Open and memory of a large record file's index: for `benchmarks/loading.py`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.figures import Sheet
from oaml_core.data.sources.recordio import frame_record
from oaml_core.data.sources.recordio_index import open_index

MIB = 2**20


def open_many(sheet: Sheet, records: int) -> None:
    """Index a record file of `records` small images, then open it and a data set of that size."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.rec"
        _write_records(path, records)
        sheet.say(f"record file: {records:,} records of 85,742 identities", f"{path.stat().st_size / MIB:,.0f} MiB")
        start = time.perf_counter()
        open_index(path)
        sheet.say("index built with train.idx, once", f"{time.perf_counter() - start:.1f} s")
        opened = f"open_index(Path({str(path)!r}))"
        _in_process(sheet, "index, cached: open", opened)
        _in_process(sheet, "the same, and every label read", opened, "data.labels.max()")
        (path.with_suffix(".idx")).unlink()
        start = time.perf_counter()
        open_index(path)
        sheet.say("index built without train.idx, once", f"{time.perf_counter() - start:.1f} s")
        train = Path(folder) / "train"
        _write_prepared_index(train, records)
        opened = f"FaceDataset(Path({str(train)!r}))"
        _in_process(sheet, "FaceDataset: open", opened)
        _in_process(sheet, "the same, and every label read", opened, "data.labels.max()")
        _workers(sheet, train)


def _write_records(path: Path, records: int) -> None:
    labels = np.sort(np.random.default_rng(0).integers(0, 85_742, records))
    with path.open("wb") as file, path.with_suffix(".idx").open("w") as index:
        for start in range(0, records, 100_000):
            rows = [
                frame_record(b"x" * 40, (float(label),), start + i + 1)
                for i, label in enumerate(labels[start : start + 100_000])
            ]
            size = len(rows[0])
            index.write("".join(f"{start + i + 1}\t{(start + i) * size}\n" for i in range(len(rows))))
            file.write(b"".join(rows))


def _write_prepared_index(folder: Path, images: int) -> None:
    folder.mkdir()
    np.save(folder / "labels.npy", np.sort(np.random.default_rng(0).integers(0, 85_742, images)))
    np.save(folder / "sources.npy", np.arange(images))
    np.save(folder / "parts.npy", (np.arange(images) // 20_000).astype(np.int32))
    np.save(folder / "offsets.npy", np.arange(images) * 5000)
    np.save(folder / "sizes.npy", np.full(images, 5000, dtype=np.int32))


CHILD = """
import time
from pathlib import Path
import numpy as np, psutil
from oaml_core.data.sources.recordio_index import open_index
from oaml_core.data.prepared.dataset import FaceDataset
me = psutil.Process()
before = me.memory_info().rss
start = time.perf_counter()
data = {opened}
{use}
seconds = time.perf_counter() - start
print(f"{{seconds:.3f}} s, {{(me.memory_info().rss - before) / 2**20:.0f}} MiB more resident")
"""


def _in_process(sheet: Sheet, what: str, opened: str, use: str = "") -> None:
    code = CHILD.format(opened=opened, use=use)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sheet.say(what, done.stdout.strip())


WORKERS = """
import multiprocessing, pickle, sys
from pathlib import Path
import numpy as np, psutil
from oaml_core.data.prepared.dataset import FaceDataset
def use(dataset, answers, all_have_read):
    before = psutil.Process().memory_full_info().uss
    int(dataset.labels.max()), int(dataset._offsets.max())
    all_have_read.wait()
    answers.put(psutil.Process().memory_full_info().uss - before)
    all_have_read.wait()
if __name__ == "__main__":
    dataset = FaceDataset(Path(sys.argv[1]))
    answers, all_have_read = multiprocessing.Queue(), multiprocessing.Barrier(4)
    workers = [multiprocessing.Process(target=use, args=(dataset, answers, all_have_read)) for _ in range(4)]
    [w.start() for w in workers]
    own = [answers.get() for _ in workers]
    print(f"{max(own) / 2**20:.1f} MiB of its own each; the data set travels as {len(pickle.dumps(dataset))} bytes")
"""


def _workers(sheet: Sheet, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WORKERS, str(folder)], capture_output=True, text=True, check=True)
    sheet.say("4 workers that read the whole index", done.stdout.strip())
