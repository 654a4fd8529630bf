"""One request from beginning to end: search every place, remove in an order that survives kills, sign a receipt."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from oaml_core import __version__
from oaml_core.amounts import amount
from oaml_core.errors import StoreError
from oaml_core.folder_entries import shown
from oaml_core.forgetting.caches import Checksums, Copies, Samples
from oaml_core.forgetting.checkpoints import Checkpoints
from oaml_core.forgetting.data_sets import DataSets, OldContent
from oaml_core.forgetting.evaluations import Evaluations
from oaml_core.forgetting.galleries import Galleries
from oaml_core.forgetting.lists import keep, recall
from oaml_core.forgetting.own_results import OwnResults
from oaml_core.forgetting.place import Case, Change, Item, Place, Remainder
from oaml_core.forgetting.production import Production
from oaml_core.forgetting.receipt import receipt_key, sign, subject_of
from oaml_core.forgetting.shared_work import SharedWork, Unfinished
from oaml_core.forgetting.sweep import Swept, sweep
from oaml_core.forgetting.trees import passed_over
from oaml_core.store.lease import lease

log = logging.getLogger(__name__)

RECEIPTS, AUDIT = "forgotten/receipts", "forgotten/audit"
PLACES: tuple[type[Place], ...] = (
    DataSets,
    Copies,
    Checkpoints,
    Evaluations,
    OwnResults,
    Galleries,
    Samples,
    Checksums,
    Production,
    SharedWork,
    Unfinished,
    OldContent,
)
"""In the order of the work: data sets tell what is made from them, and so their old form goes last."""
KNOWN_PREFIXES = (
    *("datasets/", "runs/", "adopted/", "models/", "forgotten/", "inventories/", "leases/", "nights/", "pins/"),
    *("retraining/", "galleries/", "shards/"),
)
"""Beginnings of keys whose objects are searched."""
OUTSIDE = (
    ("sources", "files that data sets were prepared from are their owner's; `prepare` leaves these images out"),
    ("copies", "backups, exports and copies that nobody named here were not searched"),
    ("other images", "photographs of the person whose bytes and name were not given cannot be told from others"),
)


@dataclass(frozen=True)
class Searched:
    """One place, after it was searched."""

    place: str
    looked_at: int
    found: list[Item]


@dataclass(frozen=True)
class Forgotten:
    """Result of `forget`: all places that were searched."""

    searched: list[Searched]
    removed: list[Change]
    """Empty for a dry run."""
    remains: list[Remainder]
    receipt: dict[str, Any] | None
    """Signed; None for a dry run."""
    receipt_uri: str
    """Empty for a dry run."""

    @property
    def found(self) -> int:
        """Number of things of the person that were found."""
        return sum(len(each.found) for each in self.searched)


def forget(case: Case, *, apply: bool = False, scan: bool = False) -> Forgotten:
    """Search all places for a person and, if `apply`, remove what they hold.

    Killed at any time it can be given again, with the same key, and ends as if it had run once.

    Args:
        case: whom to forget, and where.
        apply: change something; else it is only said what would be.
        scan: read every byte afterwards, and look for images and names that are left.

    Raises:
        ConfigError: there is no key to sign with. StoreError: the store cannot be read or written. DataError: a data
            set is damaged.
    """
    shutil.rmtree(case.scratch, ignore_errors=True)
    case.scratch.mkdir(parents=True)
    try:
        if not apply:
            return _searched_only(case)
        key = receipt_key()
        with lease(case.store, "forgetting", kept=True):
            return _applied(case, key, scan)
    finally:
        shutil.rmtree(case.scratch, ignore_errors=True)


def _searched_only(case: Case) -> Forgotten:
    places = [kind(case) for kind in PLACES]
    searched = [_search(place) for place in places]
    return Forgotten(searched, [], _remains(case, places), None, "")


def _applied(case: Case, key: bytes, scan: bool) -> Forgotten:
    subject = subject_of(case.person, key)
    recall(case, subject)
    places = [kind(case) for kind in PLACES]
    searched = [_search(place) for place in places]
    keep(case, subject)
    removed: list[Change] = []
    for place in places:
        changes = place.erase()
        removed += changes
        log.info("%s: %d removed or made again", place.name, len(changes))
        if isinstance(place, DataSets):
            keep(case, subject)  # what stored scores are compared with from here on
    remains = _remains(case, places)
    swept = sweep(case) if scan else None
    receipt = sign(_receipt(case, subject, searched, removed, remains, swept), key)
    uri = _publish(case, subject, receipt)
    if swept is not None:
        _require_nothing_left(swept, uri)
    return Forgotten(searched, removed, remains, receipt, uri)


def _require_nothing_left(swept: Swept, receipt: str) -> None:
    for files, one, many in (
        (swept.hits, "file still holds an image or a name", "files still hold an image or a name"),
        (swept.unread, "file could not be looked through", "files could not be looked through"),
    ):
        if files:
            raise StoreError(f"{amount(len(files), one, many)}: {', '.join(files[:5])}. {receipt} lists them all.")


def _search(place: Place) -> Searched:
    found = place.search()
    return Searched(place.name, place.looked_at, found)


def _remains(case: Case, places: list[Place]) -> list[Remainder]:
    """Return what stays: what places say of themselves, what no place knows, and what lies outside."""
    found = [remainder for place in places for remainder in place.remains]
    if (versions := case.store.keeps_versions()) is not False:
        why = "the bucket keeps" if versions else "nobody could ask whether the bucket keeps"
        found.append(Remainder(case.store.uri, f"{why} earlier versions of objects; let a lifecycle rule remove them"))
    found += [
        Remainder(shown(entry.path), f"not searched: {entry.reason}")
        for folder in (case.work, *case.folders)
        for entry in passed_over(folder)
    ]
    strange = {i.key.split("/")[0] for i in case.store.list() if not i.key.startswith(KNOWN_PREFIXES)}
    found += [Remainder(case.store.url(top), "objects of other kinds were not searched") for top in sorted(strange)]
    return list(dict.fromkeys([*found, *(Remainder(*outside) for outside in OUTSIDE)]))


def _receipt(
    case: Case,
    subject: str,
    searched: list[Searched],
    removed: list[Change],
    remains: list[Remainder],
    swept: Swept | None,
) -> dict[str, Any]:
    content = {
        "format": 1,
        "made_by": f"oaml {__version__}",
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "subject": subject,
        "images": sorted(case.person.files | case.person.pixels),
        "store": case.store.uri,
        "searched": [asdict(each) for each in searched],
        "removed": [asdict(change) for change in removed],
        "remains": [asdict(remainder) for remainder in remains],
        "scan": None if swept is None else {"bytes": swept.read, "hits": swept.hits, "unread": swept.unread},
    }
    redacted: dict[str, Any] = json.loads(case.person.redact(json.dumps(content, ensure_ascii=False)))
    return redacted


def _publish(case: Case, subject: str, receipt: dict[str, Any]) -> str:
    """Put the receipt into the store, and a line of the audit log after it."""
    text = json.dumps(receipt, indent=1, ensure_ascii=False).encode()
    stamp = receipt["when"].replace(":", "").replace("+0000", "Z")
    name = f"{stamp}-{subject[:16]}.json"
    case.store.write_bytes(f"{RECEIPTS}/{name}", text)
    entry = {
        "when": receipt["when"],
        "subject": subject,
        "images": len(receipt["images"]),
        "removed": len(receipt["removed"]),
        "remains": len(receipt["remains"]),
        "receipt": f"{RECEIPTS}/{name}",
        "receipt_sha256": hashlib.sha256(text).hexdigest(),
    }
    case.store.write_bytes(f"{AUDIT}/{name}", json.dumps(entry, sort_keys=True).encode())
    return case.store.url(f"{RECEIPTS}/{name}")
