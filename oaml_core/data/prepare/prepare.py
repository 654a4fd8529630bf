"""The `prepare` stage's work: check, pack, index, write memfiles, fingerprint, put into the store.

Everything is read once and sent part by part, so that neither memory nor disk need hold the data set.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.data.prepare.fingerprint import CHECKSUMS, fingerprint_of, fingerprint_of_read
from oaml_core.data.prepare.finished import StoredDataset, all_settings, committed, refuse_other_settings, reused
from oaml_core.data.prepare.forgotten import ForgottenImages, forgotten_images
from oaml_core.data.prepare.listed_before import keep_listing, known_fingerprint
from oaml_core.data.prepare.outbox import Outbox, lacking
from oaml_core.data.prepare.packer import Packer
from oaml_core.data.prepared.manifest import MANIFEST, parse_manifest
from oaml_core.data.prepared.prepared import DATASETS, dataset_folder, manifest_key
from oaml_core.data.sources.inputs import Folders, open_folders, open_inputs
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.errors import DataError, StoreError
from oaml_core.store.local_file import only_one

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)
ROOM = 3
"""A prepared copy stays on the local disk if so many times the source's size is free."""


TRIES = 3
"""Times that a data set is packed whose content is removed from the store meanwhile."""


def prepare_dataset(config: Config, store: Store, *, repair: bool = False) -> StoredDataset:
    """Make the data set that `config.data` describes, unless the store has all of it.

    Args:
        config: `data`, and where the local copy goes.
        store: where the data set goes.
        repair: read what the store has of the data set, and make again what is damaged; sizes alone tell otherwise.

    Raises:
        DataError: the source cannot be used, or the checks forbid training on it; `checks.json` in `work_dir`
            says why, and the store has no manifest of it.
        StoreError: the store cannot be reached.
    """
    work = Path(config.work_dir)
    forgotten = forgotten_images(store)
    settings = all_settings(config, forgotten)
    with KeptListings(work) as listings:
        known = None if repair else known_fingerprint(store, config.data, settings, listings)
        if known is not None and (found := reused(config, store, known)):
            return found
        folders = open_folders(config.data, work / "fetched", listings.entries())
    distinct = {} if folders is None else folders.distinct()
    fingerprint = fingerprint_of(settings, distinct, work / CHECKSUMS, store)
    with only_one(work / DATASETS / f".{fingerprint}.lock"):  # a second process waits, and finds it made
        if repair:
            _remove_damaged(store, fingerprint)
        found = reused(config, store, fingerprint)
        found = found or _made(config, store, folders, fingerprint, settings, forgotten)
    keep_listing(store, config.data, settings, distinct, fingerprint)
    return found


def _remove_damaged(store: Store, fingerprint: str) -> None:
    """Remove a data set's files that are not what was put, and a manifest that cannot be read."""
    key = manifest_key(fingerprint)
    if not store.exists(key):
        return
    try:
        manifest = parse_manifest(store.read_bytes(key), store.url(key))
    except (DataError, StoreError) as error:
        log.warning("%s It is made again.", error)
        store.delete(key)
        return
    gone = {file.key for file in lacking(store, manifest.files)}
    for file in manifest.files:
        if file.key not in gone and store.is_intact(file.key) is False:
            log.warning("%s is damaged; it is made again.", store.url(file.key))
            store.delete(file.key)


def _made(
    config: Config,
    store: Store,
    folders: Folders | None,
    fingerprint: str,
    settings: dict[str, Any],
    forgotten: ForgottenImages,
) -> StoredDataset:
    distinct, cache = {} if folders is None else folders.distinct(), Path(config.work_dir) / CHECKSUMS
    final = dataset_folder(config, fingerprint)
    unfinished = final.with_name(f".{fingerprint}.unfinished")
    for _ in range(TRIES):
        shutil.rmtree(unfinished, ignore_errors=True)
        outbox = Outbox(store, unfinished, keep=_has_room(folders, Path(config.work_dir)))
        try:
            inputs = open_inputs(config, folders)
            manifest = Packer(inputs, config, outbox, forgotten).pack(fingerprint, settings)
            refuse_other_settings(config, forgotten, settings)
            manifest = replace(manifest, fingerprint=fingerprint_of_read(fingerprint, settings, distinct, cache))
            if manifest.fingerprint != fingerprint and (found := reused(config, store, manifest.fingerprint)):
                return found  # an earlier night lost the same files
            if not committed(store, manifest, outbox):
                continue
            if outbox.keep and manifest.fingerprint == fingerprint:  # the lock is held for that one
                (unfinished / MANIFEST).write_text(manifest.to_json())
                shutil.rmtree(final, ignore_errors=True)
                unfinished.replace(final)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        uri = store.url(f"{DATASETS}/{manifest.fingerprint}")
        log.info("%s: %.1f MB sent, %.1f MB were there already", uri, outbox.sent / 1e6, outbox.already_there / 1e6)
        return StoredDataset(uri, manifest.fingerprint, manifest, reused=False)
    raise StoreError(
        f"{store.url(DATASETS)}/{fingerprint}: files of it were removed from the store {TRIES} times while it was "
        "prepared. Run the same command again when no `oaml store gc --delete` is at work."
    )


def _has_room(folders: Folders | None, work: Path) -> bool:
    if folders is None:
        return True
    work.mkdir(parents=True, exist_ok=True)
    total = sum(file.size for folder in folders.distinct().values() for file in folder.files.values())
    return shutil.disk_usage(work).free > ROOM * total
