"""A data set that is streamed, beside one that is copied first, through a store with a round trip of 25 ms.

    python -m benchmarks.streaming begin [--images 20000] [--parts 64] [--round-trip 0.025] [--out FILE.json]
    python -m benchmarks.streaming epochs [--people 200000] [--out FILE.json]

`begin` is a node alone, from an empty disk to the images of its first batch of 512, and to all of an epoch's.
The store is a folder whose every request waits for a round trip; images are one small JPEG with a number behind it, 21
of a person. Nothing is decoded.

`epochs` is counted, without files, from the plans of so many people with 21 images of 10 kB, 10,000 to a part:
for one node of several, whose disk has room for a share of the set, the share of the images that it finds in its parts,
the bytes that come for parts and for single records, in sets, and the requests for them.
"""

from __future__ import annotations

import argparse
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np

from benchmarks import figures
from benchmarks.scale import PER_IDENTITY, PER_PART, Numbered
from benchmarks.told import run
from oaml_core.config import Config, DataConfig
from oaml_core.data.batches.parts_ahead import PartsAhead
from oaml_core.data.batches.samplers import LocalPKBatchSampler, PKBatchSampler
from oaml_core.data.prepare import packer
from oaml_core.data.prepare.forgotten import ForgottenImages
from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepared.part_filler import PartFiller, Wanted, choose
from oaml_core.data.prepared.prepared import PreparedDataset, fetch_prepared, manifest_key
from oaml_core.data.prepared.streamed_parts import RecordPlace, joined
from oaml_core.data.sources.base import Ints
from oaml_core.data.sources.inputs import Inputs
from oaml_core.registry import register_store
from oaml_core.store import ObjectInfo, open_store
from oaml_core.store.base import Moved
from oaml_core.store.folder import FolderStore
from oaml_core.store.traffic import Traffic, metered

BATCH, INSTANCES = 512, 4
NODES = 1, 16, 100
SHARES = 0.0, 0.05, 0.25, 0.5, 1.0
RECORD_BYTES = 10_064
"""Bytes of a face of 112 × 112 pixels, with its frame."""
SAMPLED = 500
"""Batches of an epoch of which the requests are counted."""
NAMES = {PKBatchSampler.__name__: "pk", LocalPKBatchSampler.__name__: "pk_local"}
"""Samplers by the names that `data.sampler` has for them."""
BEGIN_COLUMNS = ["", "first batch after, s", "requests", "MB", "an epoch after, s", "requests", "MB"]
EPOCH_COLUMNS = [
    "sampler",
    "nodes",
    "room",
    "parts that an epoch touches",
    "found here",
    "parts that came, 1st epoch",
    "2nd",
    "single records",
    "requests",
]
round_trip = 0.0
"""Seconds that each request waits."""


class DistantStore(FolderStore):
    """A store in a folder whose requests take a round trip."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.uri = f"distant://{self.folder}"

    def stat(self, key: str) -> ObjectInfo:
        time.sleep(round_trip)
        return super().stat(key)

    def read_range(self, key: str, offset: int, size: int) -> bytes:
        time.sleep(round_trip)
        return super().read_range(key, offset, size)

    def _get(self, key: str, path: Path, moved: Moved, size: int | None) -> ObjectInfo:
        time.sleep(round_trip)
        return super()._get(key, path, moved, size)


@register_store("distant")
def _distant(uri: str) -> DistantStore:
    return DistantStore(Path(uri.removeprefix("distant://")))


@dataclass(frozen=True)
class Beginning:
    """Time and traffic until a node has the images of its first batch, and those of an epoch."""

    how: str
    first_seconds: float
    first: Traffic
    epoch_seconds: float
    epoch: Traffic


@dataclass(frozen=True)
class Epochs:
    """Two epochs of one node whose disk has room for a share of the set."""

    sampler: str
    nodes: int
    share: float
    """Share of the set that the disk has room for."""
    touched: float
    """Share of the parts that the second epoch takes images from."""
    found_here: float
    """Share of the second epoch's images that are in parts which are here."""
    parts_first: float
    """Bytes of parts that came for the first epoch, in sets."""
    parts_second: float
    """Bytes of parts that came for the second one, and had come before or not, in sets."""
    records: float
    """Bytes that are read of single records in the second epoch, in sets."""
    requests: float
    """Requests for them, per image of the epoch that this node trains on."""


class KnownPlaces:
    """Training images of which only the places are known, as `FaceDataset` tells them."""

    def __init__(self, people: int) -> None:
        self.labels = np.repeat(np.arange(people), PER_IDENTITY)
        self.sizes = dict.fromkeys(range(-(-len(self.labels) // PER_PART)), PER_PART * RECORD_BYTES)

    def parts_of(self, images: Ints) -> Ints:
        return images // PER_PART

    def place(self, image: int) -> RecordPlace:
        return RecordPlace(image // PER_PART, image % PER_PART * RECORD_BYTES, RECORD_BYTES)


def prepared(folder: Path, images: int, parts: int) -> str:
    """Prepare a data set of about so many parts; its address."""
    source = Numbered(images)
    size = images * len(source.read(0)) // parts
    outbox = Outbox(open_store(str(folder / "store")), folder / "work", keep=False)
    writer = partial(PartWriter, min_bytes=size // 2, target_bytes=size, max_bytes=2 * size)
    inputs = Inputs("numbered", source, np.arange(images), [], [], None)
    with patch.object(packer, "PartWriter", writer):
        config = Config(data=DataConfig(image_size=112), work_dir=str(folder / "work"))
        manifest = packer.Packer(inputs, config, outbox, ForgottenImages()).pack("0" * 16, {})
    open_store(str(folder / "store")).write_bytes(manifest_key("0" * 16), manifest.to_json().encode())
    return f"distant://{folder / 'store'}/datasets/{'0' * 16}"


def begin(uri: str, folder: Path, how: Literal["copy", "stream"]) -> Beginning:
    """Fetch as `how` says, and read the images of an epoch, batch by batch."""
    with metered() as traffic:
        began = time.monotonic()
        dataset = fetch_prepared(uri, folder / "set", how)
        sampler = PKBatchSampler(dataset.train.labels, BATCH, num_instances=INSTANCES)
        plan = sampler.epoch_plan()
        plans: queue.Queue[Wanted | None] = queue.Queue()
        filler = None
        if dataset.train.streamed:
            plans.put(Wanted(**PartsAhead(sampler, dataset.train, range(1), None).wanted()))
            filler = threading.Thread(target=PartFiller(dataset.directory, None, plans).run)
            filler.start()
        read(dataset, plan[:1])
        first, first_traffic = time.monotonic() - began, traffic()
        read(dataset, plan[1:])
        found = Beginning(how, first, first_traffic, time.monotonic() - began, traffic())
        plans.put(None)
        if filler is not None:
            filler.join()
    return found


def read(dataset: PreparedDataset, plan: np.ndarray) -> None:
    """Read the encoded images of batches, [batches, images of each]."""
    for batch in plan.tolist():
        dataset.train.hold(batch)
        for image in batch:
            dataset.train.encoded(image)


def epochs(
    faces: KnownPlaces, kind: type[PKBatchSampler], nodes: Sequence[int], shares: Sequence[float]
) -> list[Epochs]:
    """Count two epochs of the node in the middle of so many, with one worker each, for every share."""
    sampler = kind(faces.labels, BATCH, num_instances=INSTANCES)
    whole = sum(faces.sizes.values())
    here: dict[tuple[int, float], set[int]] = {(count, share): set() for count in nodes for share in shares}
    came: dict[tuple[int, float], list[float]] = {case: [] for case in here}
    known: Any = faces
    for epoch in range(2):
        sampler.set_epoch(epoch)  # one plan serves all cases: it does not depend on them
        for count in nodes:
            sampler.place(count // 2, count)
            wanted = Wanted(**PartsAhead(sampler, known, range(count // 2, count // 2 + 1), None).wanted())
            for share in shares:
                case = count, share
                taken = sum(faces.sizes[part] for part in here[case])
                chosen = choose(wanted, faces.sizes, here[case], round(share * whole) - taken)
                here[case] = here[case] - set(chosen.go) | set(chosen.come)
                came[case].append(sum(faces.sizes[part] for part in chosen.come) / whole)
    return [second_epoch(faces, sampler, *case, here[case], came[case]) for case in here]


def second_epoch(
    faces: KnownPlaces, sampler: PKBatchSampler, nodes: int, share: float, here: set[int], came: list[float]
) -> Epochs:
    """Count the epoch that the sampler is at, with the parts `here`."""
    sampler.place(nodes // 2, nodes)
    plan = sampler.epoch_plan()[:, sampler.slice_of(nodes // 2)]
    parts = faces.parts_of(plan)
    some = plan[:: max(1, len(plan) // SAMPLED)]
    spans = [
        span
        for batch in some.tolist()
        for span in joined(sorted({place for place in map(faces.place, batch) if place.part not in here}))
    ]
    read = sum(span[-1].offset + span[-1].size - span[0].offset for span in spans) * len(plan) / len(some)
    return Epochs(
        type(sampler).__name__,
        nodes,
        share,
        len(np.unique(parts)) / len(faces.sizes),
        float(np.isin(parts, list(here)).mean()),
        *came,
        read / sum(faces.sizes.values()),
        len(spans) / some.size,
    )


def begin_rows(images: int, parts: int) -> list[list[figures.Cell]]:
    """Return a row per way of fetching."""
    rows: list[list[figures.Cell]] = []
    hows: tuple[Literal["copy", "stream"], ...] = ("copy", "stream")
    with tempfile.TemporaryDirectory() as name:
        uri = prepared(Path(name), images, parts)
        for how in hows:
            found = begin(uri, Path(name, how), how)
            cells: list[figures.Cell] = [how]
            for seconds, traffic in ((found.first_seconds, found.first), (found.epoch_seconds, found.epoch)):
                cells += [round(seconds, 1), traffic.requests, round(traffic.bytes_read / 1e6, 1)]
            rows.append(cells)
    return rows


def epoch_rows(people: int) -> list[list[figures.Cell]]:
    """Return a row per sampler, number of nodes, and room on a node's disk."""
    faces, rows = KnownPlaces(people), []
    for kind in (PKBatchSampler, LocalPKBatchSampler):
        for one in epochs(faces, kind, NODES, SHARES):
            cells: list[figures.Cell] = [NAMES[one.sampler], one.nodes, f"{one.share:.0%}", f"{one.touched:.0%}"]
            came = (round(one.parts_first, 2), round(one.parts_second, 2), round(one.records, 3))
            rows.append([*cells, f"{one.found_here:.1%}", *came, round(one.requests, 2)])
    return rows


def main() -> None:
    """Print a table, and write it if asked."""
    global round_trip
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("begin", "epochs"))
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--round-trip", type=float, default=0.025)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    round_trip = options.round_trip
    if options.what == "begin":
        columns, rows = BEGIN_COLUMNS, begin_rows(options.images, options.parts)
    else:
        columns, rows = EPOCH_COLUMNS, epoch_rows(options.people)
    command = figures.command("benchmarks.streaming", sys.argv[1:])
    found = figures.measured(command, columns, rows, ["numpy"])
    print(figures.table(found))
    if options.out:
        figures.write(found, options.out)


if __name__ == "__main__":
    run(main)
