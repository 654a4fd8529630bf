"""Files below `shards/<plan>/` by which processes prepare a data set together."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from oaml_core.data.prepared.manifest import ManifestFile
from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder
from oaml_core.data.sources.listing_file import entry_of, line_of
from oaml_core.data.sources.picked import Places
from oaml_core.errors import StoreError
from oaml_core.folder_entries import FolderEntry
from oaml_core.store.stored_arrays import read_arrays, write_arrays
from oaml_core.structured_text import check_types

if TYPE_CHECKING:
    from oaml_core.store import Store

SHARDS = "shards"
"""Folder in which a store keeps work that is shared out."""
REMEDY = "Delete everything below it, and run the same command again."


@dataclass(frozen=True)
class ShardPlan:
    """The division of a preparation into shards."""

    key: str
    """Digest of the source's listing, of all that shapes the data set, and of the number of shards."""
    shards: int
    """Number of shards."""
    image_size: int
    """Side that images are looked at in, in pixels."""
    channel_order: Literal["rgb", "bgr"]
    """How images decode."""
    limit: int | None
    """Most images per identity; None: any number."""
    forgotten: str
    """Digest of the list of images that must stay out."""
    thresholds: list[float] | None
    """Thresholds that perceptual hashes are made by; None if there is nothing to compare with."""
    made: str | None = None
    """Fingerprint of the data set once it is complete; nothing is left to do then."""

    @property
    def prefix(self) -> str:
        """Prefix of all its objects."""
        return f"{SHARDS}/{self.key}/"

    def numbered(self, what: Literal["order", "done"], number: int) -> str:
        """Return the key of a shard's work order, or of its result."""
        return f"{self.prefix}{what}-{number:05d}.npz"


@dataclass(frozen=True)
class Order:
    """Images and files that one shard looks at."""

    numbers: Ints
    """int64 [N]: numbers of its images in the source."""
    labels: Ints
    """int64 [N]: their identities."""
    places: Places | None
    """Places of the images; None: the source must be opened to read them."""
    unknown: list[tuple[str, SourceFile]]
    """Further files whose checksums nobody knows, each with its folder's use."""
    owes_checksums: bool
    """True if checksums of the images are wanted too, where each is a file."""


DAMAGE = (OSError, ValueError, TypeError, KeyError, EOFError, zlib.error)
"""Ways in which reading a damaged listing ends."""


def plan_key(key: str) -> str:
    """Return the key of a plan in a store."""
    return f"{SHARDS}/{key}/plan.json"


def write_plan(store: Store, plan: ShardPlan) -> None:
    """Put a plan into the store; it goes last, after the orders."""
    store.write_bytes(plan_key(plan.key), json.dumps(asdict(plan), indent=1).encode())


def read_plan(store: Store, key: str) -> ShardPlan:
    """Return the plan of that key.

    Raises:
        StoreError: there is none, or it is damaged.
    """
    where = plan_key(key)
    if not store.exists(where):
        raise StoreError(f"There is no plan {store.url(where)}: the step that shares the work out makes it.")
    content = store.read_json(where, ("key", "shards"), REMEDY)
    check_types(content, {"key": str, "shards": int}, store.url(where), REMEDY, StoreError)
    try:
        return ShardPlan(**content)
    except TypeError as error:
        raise StoreError(f"{store.url(where)} is no plan of this version ({error}). {REMEDY}") from None


def write_order(store: Store, key: str, order: Order) -> None:
    """Put a work order into the store."""
    arrays: dict[str, NDArray[Any]] = {"numbers": order.numbers, "labels": order.labels}
    unknown = [(use, (file.name, file.size, file.stamp)) for use, file in order.unknown]
    about: dict[str, Any] = {"unknown": unknown, "owes_checksums": order.owes_checksums, "files": None}
    if order.places is not None:
        arrays |= {"whose": order.places.file, "offsets": order.places.offsets, "sizes": order.places.sizes}
        about |= {"files": order.places.files, "framed": order.places.framed, "stamps": order.places.stamps}
    write_arrays(store, key, arrays, about)


def read_order(store: Store, key: str) -> Order:
    """Return a work order; raises StoreError if there is none, or a damaged one."""
    found, about = read_arrays(store, key, REMEDY)
    places = None
    if about["files"] is not None:
        arrays = (found["whose"], found["offsets"], found["sizes"])
        places = Places(about["files"], *arrays, about["framed"], about["stamps"])
    unknown = [(use, SourceFile(*file)) for use, file in about["unknown"]]
    return Order(found["numbers"], found["labels"], places, unknown, about["owes_checksums"])


def listing_key(plan: str, use: str) -> str:
    """Return the key of a folder's listing; `use` is empty for that of the training images."""
    return f"{SHARDS}/{plan}/listing-{use or 'training'}.jsonl.gz"


def write_listing(store: Store, key: str, folder: SourceFolder, scratch: Path) -> None:
    """Put the listing of a folder into the store."""
    scratch.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(scratch, "wt", compresslevel=1, encoding="utf-8") as file:
        file.writelines(map(line_of, folder.passed_over))
        file.writelines(map(line_of, folder.files.values()))
    store.put_file(scratch, key)
    scratch.unlink()


def fetch_listing(store: Store, key: str, scratch: Path) -> Iterator[SourceFile | FolderEntry]:
    """Yield the entries of a listing that `write_listing` has put, fetched to `scratch`.

    Raises:
        StoreError: it is damaged.
    """
    store.get_file(key, scratch)
    try:
        with gzip.open(scratch, "rt", encoding="utf-8") as file:
            yield from map(entry_of, file)
    except DAMAGE as error:
        raise StoreError(f"{store.url(key)} is damaged ({error}). {REMEDY}") from None


def parts_of(about: Mapping[str, Any]) -> list[ManifestFile]:
    """Return the parts that a shard has sent, by their numbers in it."""
    return [ManifestFile(**part) for part in about["parts"]]


def tell_parts(files: Iterable[ManifestFile]) -> list[dict[str, Any]]:
    """Return parts in the form that `parts_of` reads."""
    return [asdict(file) for file in files]
