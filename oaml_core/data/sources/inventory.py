"""The list of a bucket's objects that S3 Inventory writes, in place of a listing of the source.

S3 puts a manifest with its checksum into a folder per date, beside the files that it names:
https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from oaml_core.amounts import amount
from oaml_core.data.sources.inventory_rows import InventoryRows, csv_rows, parquet_rows
from oaml_core.data.sources.listing import SourceFile, entry_of_object
from oaml_core.errors import DataError
from oaml_core.folder_entries import FolderEntry, shown
from oaml_core.held_folder import held_folder
from oaml_core.store import MissingObject, Store, open_store
from oaml_core.store.keys import is_listed
from oaml_core.store.s3_streams import tag_of
from oaml_core.structured_text import check_types, parse_json

log = logging.getLogger(__name__)

MANIFEST, CHECKSUM = "manifest.json", "manifest.checksum"
DATE = r"\d{4}-\d\d-\d\dT\d\d-\d\dZ"
CENTURY = "20"
"""Beginning of the folders of dates: the files of an inventory, in folders beside them, are not listed."""
OLD = timedelta(days=3)
"""Age from which a warning says that a daily inventory has not been written."""
NEEDS = {"sourceBucket": str, "fileFormat": str, "fileSchema": str, "creationTimestamp": str, "files": list}
FILE_NEEDS = {"key": str, "MD5checksum": str}
NEXT = "Wait for the next inventory, or leave data.inventory out and let the bucket be listed."


@dataclass(frozen=True)
class Inventory:
    """A manifest that was read."""

    store: Store
    """Bucket that holds the inventory."""
    where: str
    """Address of the manifest, for messages."""
    bucket: str
    """Bucket whose objects are listed."""
    written: datetime
    """Time at which the listing began."""
    kind: str
    """`CSV` or `Parquet`."""
    schema: str
    """`fileSchema` of the manifest."""
    files: dict[str, str]
    """MD5 of each file by its key in `store`."""


def entries_of_inventory(inventory: str, source: str) -> Iterator[SourceFile | FolderEntry]:
    """Yield what a listing of `source` would, from an inventory; nothing is held but one of its files on the disk.

    Args:
        inventory: `s3://` address of a `manifest.json`, or of the folder above the dates: then the newest is read.
        source: `s3://bucket/prefix`.

    Raises:
        DataError: the inventory is of another bucket, incomplete, damaged, or names nothing below the prefix.
        StoreError: a bucket cannot be reached.
    """
    found = read_manifest(*_manifest_at(inventory))
    bucket, _, prefix = source.removeprefix("s3://").rstrip("/").partition("/")
    if bucket != found.bucket:
        raise DataError(
            f"data.inventory: {found.where} lists the bucket {shown(found.bucket)}, and data.source is {source}. Name "
            "the inventory of the source's bucket."
        )
    age = datetime.now(UTC) - found.written
    told = f"{found.where}, written {found.written:%Y-%m-%d %H:%M} UTC"
    if age > OLD:
        log.warning(
            "data.inventory: %s, is %s old, and what was put since is not seen. Look whether S3 still writes it.",
            told,
            amount(age.days, "day"),
        )
    log.info("%s is listed by %s", source, told)
    count = 0
    for count, entry in enumerate(entries_below(found, prefix), start=1):  # noqa: B007
        yield entry
    if not count:
        raise DataError(
            f"data.inventory: {found.where} names nothing below {source}. Correct data.source, or the prefix in the "
            "inventory's configuration."
        )


def _manifest_at(address: str) -> tuple[Store, str]:
    """Return the bucket and key of the manifest that the setting names."""
    bucket, _, key = address.removeprefix("s3://").rstrip("/").partition("/")
    store = open_store(f"s3://{bucket}")
    if key.rpartition("/")[2] == MANIFEST:
        return store, key
    top = f"{key}/" if key else ""
    dates: dict[str, set[str]] = {}
    for info in store.list(top + CENTURY):
        date, _, name = info.key.removeprefix(top).partition("/")
        if re.fullmatch(DATE, date) and name in (MANIFEST, CHECKSUM):
            dates.setdefault(date, set()).add(name)
    complete = [date for date, names in dates.items() if len(names) == 2]
    if not complete:
        raise DataError(
            f"data.inventory: no complete inventory ({MANIFEST} and {CHECKSUM} in a folder such as "
            f"2030-01-31T01-00Z) lies in {address}. Give the folder that S3 names after the inventory's "
            "configuration; the first inventory may take two days."
        )
    return store, f"{top}{max(complete)}/{MANIFEST}"


def read_manifest(store: Store, key: str) -> Inventory:
    """Return a manifest whose checksum is right.

    Args:
        store: bucket that holds the inventory.
        key: of the manifest.

    Raises:
        DataError: it is missing, damaged, or of a format that is not read.
    """
    where = store.url(key)
    try:
        content = store.read_bytes(key)
        told = store.read_bytes(f"{key.removesuffix(MANIFEST)}{CHECKSUM}")
    except MissingObject as error:
        raise DataError(
            f"data.inventory: {error} Name the {MANIFEST} of an inventory that is complete, or the folder above the "
            "dates."
        ) from None
    if told.strip().lower() != _md5(content).hexdigest().encode():
        raise DataError(f"{where} is damaged: its MD5 is not that in {CHECKSUM}. {NEXT}")
    found = parse_json(content, where, NEXT, DataError, NEEDS)
    kind = {"csv": "CSV", "parquet": "Parquet"}.get(found["fileFormat"].lower())
    if kind is None:
        raise DataError(
            f"{where} is of the format {shown(found['fileFormat'])}, which is not read. Choose Parquet or CSV in the "
            "inventory's configuration."
        )
    try:
        written = datetime.fromtimestamp(int(found["creationTimestamp"]) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        raise DataError(f"{where}: creationTimestamp is no time in milliseconds. {NEXT}") from None
    files = dict(_file(entry, where) for entry in found["files"])
    if len(files) < len(found["files"]):
        raise DataError(f"{where} names a file twice, and its objects would count twice. {NEXT}")
    return Inventory(store, where, found["sourceBucket"], written, kind, found["fileSchema"], files)


def entries_below(inventory: Inventory, prefix: str) -> Iterator[SourceFile | FolderEntry]:
    """Yield the entries of a prefix of the bucket, as those of a store that is opened there, in any order.

    Args:
        inventory: manifest that was read.
        prefix: in the bucket, without a slash at its end; empty: all objects.

    Raises:
        DataError: a file is missing or damaged, or lists another bucket.
    """
    top = f"{prefix}/" if prefix else ""
    for key in inventory.files:
        for rows in _rows(inventory, key):
            if others := set(rows.buckets) - {inventory.bucket}:
                raise DataError(
                    f"{inventory.store.url(key)} lists the bucket {shown(min(others))}, and its manifest says "
                    f"{shown(inventory.bucket)}. {NEXT}"
                )
            for row, (full, size, etag) in enumerate(zip(rows.keys, rows.sizes, rows.etags, strict=True)):
                if full.startswith(top) and is_listed(name := full[len(top) :]):
                    yield entry_of_object(name, size, tag_of(etag, rows.changed.get(row)))


def _rows(inventory: Inventory, key: str) -> Iterator[InventoryRows]:
    where = inventory.store.url(key)
    with held_folder("oaml-inventory-") as folder:
        path = folder / "file"
        try:
            inventory.store.get_file(key, path)
        except MissingObject:
            raise DataError(f"{where} is gone, and {inventory.where} names it. {NEXT}") from None
        if _md5_of(path) != inventory.files[key].lower():
            raise DataError(f"{where} is damaged: its MD5 is not that in {inventory.where}. {NEXT}")
        yield from csv_rows(path, inventory.schema, where) if inventory.kind == "CSV" else parquet_rows(path, where)


def _file(entry: object, where: str) -> tuple[str, str]:
    """Return key and MD5 of a file that a manifest names."""
    if not isinstance(entry, dict) or not entry.keys() >= FILE_NEEDS.keys():
        raise DataError(f"{where} is damaged: an entry of files lacks {' or '.join(FILE_NEEDS)}. {NEXT}")
    check_types(entry, FILE_NEEDS, where, NEXT, DataError)
    return entry["key"], entry["MD5checksum"]


def _md5(content: bytes = b"") -> Any:
    return hashlib.md5(content, usedforsecurity=False)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _md5).hexdigest()
