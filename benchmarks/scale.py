"""Cost per image of preparing, checking, planning and tidying, and the sum at 42 million images.

    python -m benchmarks.scale [--fewer 5000] [--more 50000] [--out FILE.json]

Every part runs with two numbers of images; what the second takes beyond the first, divided by the difference, is the
cost of one further image: peak memory that Python and numpy allocate, and processor time. The last column multiplies it
by 42 million images of 2 million identities (WebFace42M): an extrapolation, not a run. Images are one small JPEG with a
number behind it, so that reading and decoding are as cheap as can be; real ones cost more time, and no more memory.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import figures
from oaml_core.config import Config, DataConfig
from oaml_core.data.batches.parts_ahead import PartsAhead
from oaml_core.data.batches.samplers import PKBatchSampler
from oaml_core.data.batches.shared_arrays import SharedArrays
from oaml_core.data.prepare.fingerprint import fingerprint_of
from oaml_core.data.prepare.forgotten import ForgottenImages
from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.packer import Packer
from oaml_core.data.prepared.manifest import Manifest, ManifestFile, parse_manifest
from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder, TrainingSource
from oaml_core.data.sources.inputs import Inputs
from oaml_core.data.sources.inventory import MANIFEST, entries_below, read_manifest
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.data.sources.listing_sum import ListingSum
from oaml_core.decoding.decode import encode_jpeg
from oaml_core.folder_entries import FolderEntry
from oaml_core.stages.collect_garbage import find_garbage
from oaml_core.store import ObjectInfo, open_store
from tests.data_layer.written_inventory import TOP, put_inventory

COLUMNS = ["part", "bytes per image", "µs per image", "at 42 million images of 2 million identities"]
GOAL = 42_000_000
PER_IDENTITY = 21
"""Images of an identity, as in WebFace42M."""
PER_PART = 10_000
"""Images in a part of a prepared data set: about 96 MiB of faces of 112 × 112 pixels."""
FEWER, MORE = 5_000, 50_000
WHEN = datetime(2030, 1, 1, tzinfo=UTC)
"""Time of the last change of all objects."""


class Numbered(TrainingSource):
    """So many images that differ in their last bytes alone."""

    kind = "numbered"
    readers = 1

    def __init__(self, count: int) -> None:
        self.labels: Ints = np.arange(count) // PER_IDENTITY
        generator = np.random.default_rng(0)
        self._image = encode_jpeg(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8))

    def read(self, index: int) -> bytes:
        return self._image + index.to_bytes(8, "little")

    def name(self, index: int) -> str:
        return f"{index:08d}.jpg"

    def identity_name(self, label: int) -> str:
        return f"m.{label:07d}"

    def find(self, wanted: Sequence[str]) -> Ints:
        raise NotImplementedError


class Listed(SourceFolder):
    """A folder of a store, of which only the listing is there."""

    def __init__(self, count: int) -> None:
        super().__init__("s3://raw/faces", files(count))

    def read(self, name: str) -> bytes:
        raise NotImplementedError

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        raise NotImplementedError

    def local(self, name: str) -> Path:
        raise NotImplementedError

    def sha256(self, name: str) -> str:
        return f"{hash(name) & (2**256 - 1):064x}"

    def look_again(self, name: str) -> None:
        raise NotImplementedError


def files(count: int) -> Iterator[SourceFile]:
    for number in range(count):
        yield SourceFile(f"m.{number // PER_IDENTITY:07d}/{number:08d}.jpg", 8_000 + number % 997, f"{number:032x}")


def listing(count: int, _: Path) -> Callable[[], object]:
    """Hold the names, sizes and ETags of a source of single images."""
    return lambda: Listed(count)


def listed_as_before(count: int, folder: Path) -> Callable[[], object]:
    """Tell that a source of single images is listed as it was when a data set was made of it."""
    before = ListingSum("")
    for file in files(count):
        before.add(file)

    def run() -> object:
        with KeptListings(folder) as listings:
            return passed(listings, files(count), before.marks)

    return run


def passed(
    listings: KeptListings, entries: Iterable[SourceFile | FolderEntry], before: Sequence[int] | None
) -> int | None:
    """Return the sum of a listing once it has passed."""
    total = ListingSum("")
    for _ in listings.passing("", entries, total, before):
        pass
    return total.total()


def inventory(kind: str) -> Callable[[int, Path], Callable[[], object]]:
    """Tell the same from an S3 Inventory, CSV or Parquet."""

    def ready(count: int, folder: Path) -> Callable[[], object]:
        store, date = open_store(str(folder / f"{kind}-{count}")), "2030-01-02T01-00Z"
        rows = [("raw", f"faces/{file.name}", "1", True, False, file.size, WHEN, file.stamp) for file in files(count)]
        put_inventory(store, rows, kind, date)

        def run() -> object:
            with KeptListings(folder) as listings:
                entries = entries_below(read_manifest(store, f"{TOP}/{date}/{MANIFEST}"), "faces")
                return passed(listings, entries, None)

        return run

    return ready


def nothing_new(count: int, folder: Path) -> Callable[[], object]:
    """Find the fingerprint of a source of single images whose checksums are all known; its listing counted apart."""
    there, cache = Listed(count), folder / f"{count}.sqlite"
    fingerprint_of({}, {"": there}, cache)
    return lambda: fingerprint_of({}, {"": there}, cache)


def prepare(count: int, folder: Path) -> Callable[[], object]:
    """Check, look for duplicates, pack and index a source whose listing costs nothing (RecordIO)."""
    config = Config(data=DataConfig(image_size=112))
    outbox = Outbox(open_store(str(folder / f"store-{count}")), folder / f"work-{count}", keep=False)

    def run() -> object:
        source = Numbered(count)
        inputs = Inputs("numbered", source, np.arange(count), [], [], None)
        return Packer(inputs, config, outbox, ForgottenImages()).pack("0" * 16, {})

    return run


def manifest_of(count: int) -> Manifest:
    """The manifest of a prepared data set of `count` images."""
    named = [f"m.{number:07d}" for number in range(count // PER_IDENTITY)]
    parts = [
        ManifestFile(f"train/part-{number:05d}.rec", 96 << 20, f"{number:064x}", f"datasets/files/{number:064x}")
        for number in range(max(1, count // PER_PART))
    ]
    return Manifest("0" * 16, "recordio", 112, "rgb", count, named, {}, 0, 0, count, [], {}, parts)


def manifest(count: int, _: Path) -> Callable[[], object]:
    """Write and read the manifest of a prepared data set."""
    return lambda: parse_manifest(manifest_of(count).to_json(), "here")


def plan(count: int, _: Path) -> Callable[[], object]:
    """Plan the batches of an epoch, 4 images of each identity, 512 to a batch."""
    labels = np.arange(count) // PER_IDENTITY
    return lambda: PKBatchSampler(labels, 512, num_instances=4, seed=0).global_batch(0)


def shared_plan(count: int, folder: Path) -> Callable[[], object]:
    """Take the plan of an epoch that another worker of the node has made."""
    labels, arrays = np.arange(count) // PER_IDENTITY, SharedArrays(folder / f"plans-{count}")

    def take() -> object:
        sampler = PKBatchSampler(labels, 512, num_instances=4, seed=0)
        sampler.share(arrays)
        return sampler.global_batch(0)

    take()
    return take


class NumberedParts:
    """Training images of which only the parts are known, as `FaceDataset` tells them."""

    def parts_of(self, images: Ints) -> Ints:
        return images // PER_PART


def wanted_parts(count: int, _: Path) -> Callable[[], object]:
    """Find what the plan of an epoch, which is there, wants of the parts; all workers on this node."""
    sampler = PKBatchSampler(np.arange(count) // PER_IDENTITY, 512, num_instances=4, seed=0)
    sampler.epoch_plan()
    faces: Any = NumberedParts()
    return PartsAhead(sampler, faces, range(1), None).wanted


class ListedStore:
    """A store that holds a data set with so many parts, of which only the listing is there."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        old = datetime.now(UTC) - timedelta(days=90)
        for number in range(self._parts):
            key = f"datasets/files/{number:064x}"
            if key.startswith(prefix):
                yield ObjectInfo(key, 96 << 20, "", old)

    def unfinished(self) -> list[ObjectInfo]:
        return []

    def exists(self, _: str) -> bool:
        return False

    def url(self, key: str = "") -> str:
        return key


def garbage(count: int, _: Path) -> Callable[[], object]:
    """Find garbage among `count` objects: parts, not images; a data set of 42 million images has 4,200."""
    there: Any = ListedStore(count)
    return lambda: find_garbage(there, 7, timedelta(days=2))


PARTS: dict[str, Callable[[int, Path], Callable[[], object]]] = {
    "listing": listing,
    "listed as before": listed_as_before,
    "inventory in CSV": inventory("CSV"),
    "inventory in Parquet": inventory("Parquet"),
    "nothing new": nothing_new,
    "prepare": prepare,
    "manifest": manifest,
    "plan": plan,
    "shared plan": shared_plan,
    "wanted parts": wanted_parts,
    "garbage": garbage,
}
GOALS = {"garbage": GOAL // PER_PART}
"""Counts at the goal of things that are not images."""


@dataclass(frozen=True)
class Growth:
    """Cost of one further image."""

    bytes: float
    """Bytes of memory at the peak."""
    microseconds: float
    """Microseconds of processor time, without watching memory."""

    def at_goal(self, count: int) -> str:
        """Return memory and time for `count` of them, in words."""
        return f"{self.bytes * count / 2**30:.2f} GiB, {self.microseconds * count / 6e7:.1f} min"


def peak_of(part: str, count: int, folder: Path) -> int:
    """Peak of the bytes that a part allocates, beyond what it is given."""
    run = PARTS[part](count, folder)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        kept = run()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
    finally:
        tracemalloc.stop()
    return peak - before


def seconds_of(part: str, count: int, folder: Path) -> float:
    """Processor time of a part, in seconds."""
    run = PARTS[part](count, folder)
    if part != "prepare":  # which finds its own result
        run()  # what the first call imports and makes costs once
    began = time.process_time()
    run()
    return time.process_time() - began


def growth(part: str, fewer: int = FEWER, more: int = MORE, *, timed: bool = True) -> Growth:
    """Measure a part with two numbers of images."""
    with tempfile.TemporaryDirectory() as name:
        folders = Path(name, "memory"), Path(name, "time")
        for folder in folders:
            folder.mkdir()
        less, most = (peak_of(part, count, folders[0]) for count in (fewer, more))
        spent = [seconds_of(part, count, folders[1]) for count in (fewer, more)] if timed else [0.0, 0.0]
    return Growth((most - less) / (more - fewer), 1e6 * (spent[1] - spent[0]) / (more - fewer))


def main() -> None:
    """Print the table, and write the figures if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fewer", type=int, default=FEWER)
    parser.add_argument("--more", type=int, default=MORE)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---|---|---|---|")
    rows: list[list[figures.Cell]] = []
    for part in PARTS:
        found = growth(part, arguments.fewer, arguments.more)
        at_goal = found.at_goal(GOALS.get(part, GOAL))
        print(f"| {part} | {found.bytes:.0f} | {found.microseconds:.1f} | {at_goal} |", flush=True)
        rows.append([part, round(found.bytes), round(found.microseconds, 2), at_goal])
    if arguments.out:
        command = figures.command("benchmarks.scale", sys.argv[1:])
        figures.write(figures.measured(command, COLUMNS, rows, ["numpy", "pyarrow"]), arguments.out)


if __name__ == "__main__":
    main()
