"""Tells a source that is listed as it was when a data set was made of it, and holds nothing of the listing.

A night with nothing new over millions of single images ends here: names, sizes and ETags (or times of the last change)
are summed up as they come. The sum does not depend on their order (Clarke et al. 2003, multiset hashes, section 4), and
is kept in the store beside the fingerprint that was found file by file. So are marks, the sum on the way: as long as a
store lists as it did before, nothing of the listing is written either.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from oaml_core.config import DataConfig
from oaml_core.data.prepare.fingerprint import DIGITS, INVENTORIES
from oaml_core.data.sources.base import SourceFile, SourceFolder
from oaml_core.data.sources.inventory import entries_of_inventory
from oaml_core.data.sources.listing import over_entries
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.data.sources.listing_sum import BYTES, ListingSum
from oaml_core.errors import DataError, StoreError
from oaml_core.folder_entries import FolderEntry

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)

FIELDS = {"listing": str, "fingerprint": str}
Marks = Mapping[str, Sequence[int]]
"""Marks of each folder that lies in a store, by its use; see `ListingSum`."""


def known_fingerprint(
    store: Store, data: DataConfig, settings: Mapping[str, Any], listings: KeptListings
) -> str | None:
    """Return the fingerprint of the data set that was made when the source was listed as it is now; None: look at
    each file.

    Args:
        store: has what earlier runs kept.
        data: names the folders.
        settings: all that shapes the data set beside them.
        listings: gets the listings that are made.
    """
    if data.source is None:
        return None
    key = _key(data, settings)
    try:
        if not store.exists(key):
            return None
        kept = store.read_json(key, FIELDS, "It is written again.")
        if not re.fullmatch(rf"[0-9a-f]{{{DIGITS}}}", kept["fingerprint"]):
            return None
        before = _marks_in(kept.get("marks"))
        sums = _listed_now(data, listings, before)
        if (now := _digest({use: each.total() for use, each in sums.items()})) and now == kept["listing"]:
            marks = _marks_of(data, sums)
            if marks != before:  # an earlier version kept none, or the server lists in an order of its own
                _keep(store, key, now, kept["fingerprint"], marks)
            return str(kept["fingerprint"])
        for use, source in _in_stores(data).items():
            if listings.lacks_beginning(use):
                over_entries(source, partial(_complete, listings, use, sums[use].marks))
    except (DataError, StoreError, OSError) as error:
        log.debug("Each file is looked at: %s", error)
    return None


def keep_listing(
    store: Store,
    data: DataConfig,
    settings: Mapping[str, Any],
    folders: Mapping[str, SourceFolder],
    fingerprint: str,
) -> None:
    """Keep the fingerprint that was found for folders so listed, where a listing tells contents apart.

    Nothing is kept while a file cannot be read: no listing tells when it can.

    Args:
        store: gets it.
        data, settings: as for `known_fingerprint`.
        folders: the source's folders by their use; empty for drawn faces.
        fingerprint: of the data set.
    """
    if any(folder.lost for folder in folders.values()):
        return
    sums = {use: _summed(use, folder.files.values()) for use, folder in folders.items()}
    digest = _digest({use: each.total() for use, each in sums.items()})
    if folders and digest:
        _keep(store, _key(data, settings), digest, fingerprint, _marks_of(data, sums))


def _keep(store: Store, key: str, listing: str, fingerprint: str, marks: Marks) -> None:
    told = {use: "".join(f"{mark:016x}" for mark in each) for use, each in marks.items()}
    kept = {"listing": listing, "fingerprint": fingerprint, "marks": told}
    store.write_bytes(key, json.dumps(kept).encode())


def _marks_in(told: object) -> Marks:
    """Return the marks that `_keep` wrote; those of a damaged text are none of any listing."""
    if not isinstance(told, dict):
        return {}
    texts = {use: text for use, text in told.items() if isinstance(text, str) and re.fullmatch("[0-9a-f]*", text)}
    return {
        use: [int(text[start : start + 16], 16) for start in range(0, len(text), 16)] for use, text in texts.items()
    }


def _marks_of(data: DataConfig, sums: Mapping[str, ListingSum]) -> Marks:
    return {use: sums[use].marks for use in _in_stores(data) if sums[use].marks}


def _complete(
    listings: KeptListings, use: str, marks: Sequence[int], entries: Iterable[SourceFile | FolderEntry]
) -> None:
    listings.complete(use, entries, marks)


def _in_stores(data: DataConfig) -> dict[str, str]:
    """Return the sources that a store lists, in the order of names as a rule, by their use."""
    listed = {use: source for use, source in _sources(data).items() if "://" in source}
    return {use: source for use, source in listed.items() if use or data.inventory is None}


def _sources(data: DataConfig) -> dict[str, str]:
    named = {
        "": data.source,
        "verification": data.verification_source,
        "visibility": data.visibility_source,
        "unlabelled": data.unlabelled_source,
    }
    return {use: source for use, source in named.items() if source is not None}


def _key(data: DataConfig, settings: Mapping[str, Any]) -> str:
    told = json.dumps([_sources(data), settings], sort_keys=True)
    return f"{INVENTORIES}/{hashlib.sha256(told.encode()).hexdigest()[:DIGITS]}.json"


def _listed_now(data: DataConfig, listings: KeptListings, before: Marks) -> dict[str, ListingSum]:
    ordered = _in_stores(data)

    def sum_of(use: str, entries: Iterable[SourceFile | FolderEntry]) -> ListingSum:
        total = ListingSum(use)
        for _ in listings.passing(use, entries, total, before.get(use, ()) if use in ordered else None):
            pass
        return total

    sums = {}
    for use, source in _sources(data).items():
        if use or data.inventory is None:
            sums[use] = over_entries(source, partial(sum_of, use))
        else:
            sums[use] = sum_of(use, entries_of_inventory(data.inventory, source))
    return sums


def _digest(sums: Mapping[str, int | None]) -> str:
    """Return the sum of all folders, hexadecimal; empty if a file can be told from another content of its name by
    nothing that a listing says.
    """
    known = [each for each in sums.values() if each is not None]
    return f"{sum(known) % (1 << 8 * BYTES):0{2 * BYTES}x}" if len(known) == len(sums) else ""


def sum_of_files(use: str, files: Iterable[SourceFile]) -> int | None:
    """Return the sum of the hashes of all files; None if one has no stamp."""
    return _summed(use, files).total()


def _summed(use: str, files: Iterable[SourceFile]) -> ListingSum:
    total = ListingSum(use)
    for file in files:
        total.add(file)
    return total
