"""Makes one shard of a shared preparation: looks at its images, packs and sends them, and keeps what it saw."""

from __future__ import annotations

import logging
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oaml_core.config import Config
from oaml_core.data.check.duplicates import DuplicateFinder
from oaml_core.data.check.looked_at import LookedImages
from oaml_core.data.check.report import SetAside
from oaml_core.data.check.scan import Looked, Scanner, in_order
from oaml_core.data.prepare.forgotten import forgotten_images
from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.packer import TRAIN
from oaml_core.data.prepare.parts import PartWriter
from oaml_core.data.prepare.shard_files import (
    SHARDS,
    Order,
    ShardPlan,
    fetch_listing,
    listing_key,
    read_order,
    read_plan,
    tell_parts,
)
from oaml_core.data.prepared.streamed_parts import RecordPlace
from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder, TrainingSource, open_folder
from oaml_core.data.sources.inputs import open_training
from oaml_core.data.sources.picked import PickedImages
from oaml_core.errors import ConfigError
from oaml_core.progress import progress
from oaml_core.store.local_file import only_one
from oaml_core.store.stored_arrays import write_arrays

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)


def make_shard(config: Config, store: Store, key: str, number: int) -> bool:
    """Make a shard of the plan `key`, unless it was made before.

    Args:
        config: the source, and `work_dir`.
        store: has the plan; parts and the shard's result go there, the result last.
        key: of the plan.
        number: of the shard, from 0.

    Returns:
        True if it was made now.

    Raises:
        ConfigError: the plan has no such shard. DataError: a file cannot be read whose checksum is wanted.
    """
    plan = read_plan(store, key)
    if not 0 <= number < plan.shards:
        raise ConfigError(f"There is no shard {number}: the plan {key} has {plan.shards}, from 0.")
    work = Path(config.work_dir) / SHARDS / key
    with only_one(work / f".{number}.lock"):
        if plan.made is not None or store.exists(plan.numbered("done", number)):
            return False
        folder = work / f"{number:05d}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _Shard(config, store, plan, number, folder).make()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return True


@dataclass
class _Columns:
    """Columns of `LookedImages`, while they grow."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    numeric: array[int] = field(default_factory=lambda: array("q"))
    """Per image: side, three sums, lowest and highest value, part, offset, size."""
    digests: bytearray = field(default_factory=bytearray)
    perceptual: bytearray = field(default_factory=bytearray)

    def add(self, number: int, looked: Looked, place: RecordPlace) -> None:
        self.numbers.append(number)
        self.numeric.extend((looked.side, *looked.total.tolist(), looked.low, looked.high, *place))
        self.digests += looked.sha256
        self.perceptual += looked.perceptual

    def arrays(self) -> tuple[LookedImages, Ints]:
        """Return the images, and int64 [N, 3]: part, offset, size of each."""
        numbers = np.array(self.numbers, dtype=np.int64)
        numeric = np.array(self.numeric, dtype=np.int64).reshape(-1, 9)
        count = len(numbers)
        width = len(self.perceptual) // max(1, count)
        images = LookedImages(
            numbers,
            np.frombuffer(bytes(self.digests), np.uint8).reshape(count, 32),
            numeric[:, 0].astype(np.int32),
            np.ascontiguousarray(numeric[:, 1:4]),
            numeric[:, 4].astype(np.uint8),
            numeric[:, 5].astype(np.uint8),
            np.frombuffer(bytes(self.perceptual), np.uint8).reshape(count, width),
        )
        return images, np.ascontiguousarray(numeric[:, 6:9])


class _Shard:
    """One shard that is being made."""

    def __init__(self, config: Config, store: Store, plan: ShardPlan, number: int, folder: Path) -> None:
        self.config, self.store, self.plan, self.number, self.folder = config, store, plan, number, folder
        self.order: Order = read_order(store, plan.numbered("order", number))
        self.digests: dict[int, bytes] = {}
        """SHA-256 of its images by place in the order, where their checksums are wanted."""
        self.opened: list[tuple[str, SourceFolder]] = []
        """Folders that were read, each with its use."""

    def make(self) -> None:
        """Look at all its images, send the parts, and then the result."""
        columns, damaged = _Columns(), []
        outbox = Outbox(self.store, self.folder, keep=False)
        with PartWriter(self.folder / TRAIN, outbox.send) as writer:
            for number, looked in self._usable():
                if isinstance(looked, SetAside):
                    damaged.append((number, looked.reason))
                else:
                    columns.add(number, looked, writer.add(looked.data, looked.sha256))
        images, places = columns.arrays()
        about: dict[str, Any] = {
            "parts": tell_parts(outbox.files),
            "damaged": damaged,
            "checksums": list(self._checksums()),
        }
        about["lost"] = [(use, *lost) for use, folder in self.opened for lost in folder.lost.reasons().items()]
        write_arrays(self.store, self.plan.numbered("done", self.number), vars(images) | {"places": places}, about)
        log.info("shard %d of %d: %s images", self.number + 1, self.plan.shards, f"{len(images):,}")

    def _usable(self) -> Iterator[tuple[int, Looked | SetAside]]:
        """Yield numbers in the source of images to keep, and of those that are set aside."""
        if not len(self.order.numbers):
            return
        forgotten, taken = forgotten_images(self.store), Counter[int]()
        finder = DuplicateFinder()
        if self.plan.thresholds is not None:
            finder.hash_by(np.array(self.plan.thresholds, dtype=np.float32))
        scanner = Scanner(self.plan.image_size, self.plan.channel_order, finder)
        source, indices = self._source()
        looked_at = progress(scanner.training(source, indices), len(indices), f"shard {self.number + 1}")
        for place, (_, looked) in enumerate(looked_at):
            number, label = int(self.order.numbers[place]), int(self.order.labels[place])
            if isinstance(looked, SetAside):
                yield number, looked
                continue
            if self.order.owes_checksums:
                self.digests[place] = looked.sha256
            if forgotten.has(looked.sha256.hex()) or (self.plan.limit is not None and taken[label] >= self.plan.limit):
                continue
            taken[label] += 1
            yield number, looked

    def _source(self) -> tuple[TrainingSource, list[int]]:
        """Return where the images are read from, and their numbers there."""
        data, order = self.config.data, self.order
        if data.source is None:
            from oaml_core.data.sources.synthetic import SyntheticSource

            return SyntheticSource(data, self.config.seed), order.numbers.tolist()
        if order.places is None:
            listing = fetch_listing(self.store, listing_key(self.plan.key, ""), self.folder / "listing")
            folder = open_folder(data.source, Path(self.config.work_dir) / "fetched", listing)
            self.opened.append(("", folder))
            return open_training(folder, Path(self.config.work_dir) / "indices"), order.numbers.tolist()
        picked = PickedImages(self._folder("", order.places.as_listed()), order.places, order.labels)
        return picked, list(range(len(order.numbers)))

    def _folder(self, use: str, files: list[SourceFile]) -> SourceFolder:
        """Open the folder of that use, of which no more than these files is known."""
        data = self.config.data
        uri = {"": data.source, "verification": data.verification_source, "visibility": data.visibility_source}[use]
        if uri is None:
            raise ConfigError(f"The plan {self.plan.key} was made for another data.{use + '_' if use else ''}source.")
        folder = open_folder(uri, Path(self.config.work_dir) / "fetched", files)
        folder.is_whole = False
        self.opened.append((use, folder))
        return folder

    def _checksums(self) -> Iterator[tuple[str, str, str]]:
        """Yield use of the folder, name and SHA-256 of every file that this shard owes."""
        left: dict[str, list[SourceFile]] = {}
        places = self.order.places
        if self.order.owes_checksums and places is not None:
            for place, file in enumerate(places.as_listed()):
                if place in self.digests:
                    yield "", file.name, self.digests[place].hex()
                elif places.sizes[place] >= 0:
                    left.setdefault("", []).append(file)
        for use, file in self.order.unknown:
            left.setdefault(use, []).append(file)
        for use, files in left.items():
            folder = self._folder(use, files)
            for file, sha256 in in_order(lambda f, folder=folder: (f, folder.sha256(f.name)), files, folder.readers):  # type: ignore[misc]
                if sha256:  # else the merge looks at the file itself
                    yield use, file.name, sha256
