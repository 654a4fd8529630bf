"""Tells a source that is listed as it was when a data set was made of it, and holds nothing of the listing.

A night with nothing new over millions of single images ends here: names, sizes and ETags (or times of the last change)
are summed up as they come. The sum does not depend on their order (Clarke et al. 2003, multiset hashes, section 4), and
is kept in the store beside the fingerprint that was found file by file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from oaml_core.config import DataConfig
from oaml_core.data.prepare.fingerprint import DIGITS, INVENTORIES
from oaml_core.data.sources.base import SourceFile, SourceFolder
from oaml_core.data.sources.inventory import entries_of_inventory
from oaml_core.data.sources.listing import files_among, over_entries
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.errors import DataError, StoreError
from oaml_core.folder_entries import FolderEntry

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)

BYTES = 32
FIELDS = {"listing": str, "fingerprint": str}


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
        now = _listed_now(data, listings)
    except (DataError, StoreError, OSError) as error:
        log.debug("Each file is looked at: %s", error)
        return None
    return str(kept["fingerprint"]) if now and now == kept["listing"] else None


def keep_listing(
    store: Store,
    data: DataConfig,
    settings: Mapping[str, Any],
    folders: Mapping[str, SourceFolder],
    fingerprint: str,
) -> None:
    """Keep the fingerprint that was found for folders so listed, where a listing tells contents apart.

    Args:
        store: gets it.
        data, settings: as for `known_fingerprint`.
        folders: the source's folders by their use; empty for drawn faces.
        fingerprint: of the data set.
    """
    digest = _digest({use: sum_of_files(use, folder.files.values()) for use, folder in folders.items()})
    if folders and digest:
        kept = json.dumps({"listing": digest, "fingerprint": fingerprint}).encode()
        store.write_bytes(_key(data, settings), kept)


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


def _listed_now(data: DataConfig, listings: KeptListings) -> str:
    def sum_of(use: str, entries: Iterable[SourceFile | FolderEntry]) -> int | None:
        return sum_of_files(use, files_among(listings.passing(use, entries)))

    sums = {}
    for use, source in _sources(data).items():
        if use or data.inventory is None:
            sums[use] = over_entries(source, partial(sum_of, use))
        else:
            sums[use] = sum_of(use, entries_of_inventory(data.inventory, source))
    return _digest(sums)


def _digest(sums: Mapping[str, int | None]) -> str:
    """Return the sum of all folders, hexadecimal; empty if a file can be told from another content of its name by
    nothing that a listing says.
    """
    known = [each for each in sums.values() if each is not None]
    return f"{sum(known) % (1 << 8 * BYTES):0{2 * BYTES}x}" if len(known) == len(sums) else ""


def sum_of_files(use: str, files: Iterable[SourceFile]) -> int | None:
    """Return the sum of the hashes of all files; None if one has no stamp."""
    total, told_apart = 0, True
    for file in files:
        told_apart = told_apart and bool(file.stamp)
        told = f"{use}\0{file.name}\0{file.size}\0{file.stamp}".encode(errors="surrogateescape")
        total += int.from_bytes(hashlib.blake2b(told, digest_size=BYTES).digest())
    return total if told_apart else None
