"""Shares a preparation out: one listing, one look at the verification sets, and a work order per shard."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oaml_core.config import Config
from oaml_core.data.prepare.fingerprint import CHECKSUMS, fingerprint_of, lost_since_hashed, unknown_files
from oaml_core.data.prepare.finished import all_settings, reused
from oaml_core.data.prepare.forgotten import ForgottenImages, forgotten_images
from oaml_core.data.prepare.listed_before import keep_listing, known_fingerprint
from oaml_core.data.prepare.outbox import Outbox
from oaml_core.data.prepare.packer import Packer
from oaml_core.data.prepare.shard_files import (
    SHARDS,
    Order,
    ShardPlan,
    listing_key,
    plan_key,
    read_plan,
    write_listing,
    write_order,
    write_plan,
)
from oaml_core.data.prepared.manifest import FORMAT
from oaml_core.data.sources.base import Ints, SourceFile, SourceFolder
from oaml_core.data.sources.image_folder import ImageFileSource
from oaml_core.data.sources.inputs import Folders, Inputs, open_folders, open_inputs
from oaml_core.data.sources.listing_file import KeptListings
from oaml_core.data.sources.picked import find_places
from oaml_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)

FEW = 1_000
"""Files whose checksums are asked for before anything is shared out: a night with little new ends here."""
DIGITS = 16
ORDERS = 3
"""Form of the work orders: those of another one are not taken up again."""


def plan_shards(config: Config, store: Store, shards: int) -> ShardPlan:
    """Share the preparation of `config.data` out, unless the store has the data set.

    The same source, configuration and number of shards give the same plan: what was done of it is not done again.

    Args:
        config: `data`, and `work_dir`.
        store: where the plan and its orders go.
        shards: number of shards, 1 or more.

    Raises:
        ConfigError: the number is below 1, or photographs are to be aligned, or there are unlabelled
            faces. DataError: the source cannot be used.
    """
    if shards < 1:
        raise ConfigError(f"The number of shards is {shards}; it must be 1 or more.")
    if config.data.align:
        raise ConfigError(
            "data.align looks for the faces of all photographs in one process: make aligned faces by "
            "`oaml align FOLDER OUT` first, or prepare without shards."
        )
    if config.data.unlabelled_source is not None:
        raise ConfigError(
            "data.unlabelled_source is read in one process: lay its faces into data.source, one folder each, or "
            "prepare without shards."
        )
    work, forgotten = Path(config.work_dir), forgotten_images(store)
    settings = all_settings(config, forgotten)
    with KeptListings(work) as listings:
        known = known_fingerprint(store, config.data, settings, listings)
        if known is not None and reused(config, store, known):
            return _nothing_new(store, _key({**settings, "made": known}, {}, shards), shards, forgotten, known)
        folders = open_folders(config.data, work / "fetched", listings.entries())
    distinct = {} if folders is None else folders.distinct()
    unknown = unknown_files(distinct, work / CHECKSUMS, store)
    key, made = _key(settings, distinct, shards), None
    if len(unknown) <= FEW:
        fingerprint = fingerprint_of(settings, distinct, work / CHECKSUMS, store)
        unknown = []
        made = fingerprint if reused(config, store, fingerprint) else None
    if made is not None:
        keep_listing(store, config.data, settings, distinct, made)
        return _nothing_new(store, key, shards, forgotten, made)
    if store.exists(plan_key(key)) and (before := read_plan(store, key)).made is None:
        return before
    plan = _shared_out(config, store, (key, shards), folders, forgotten, unknown)
    write_plan(store, plan)
    return plan


def _nothing_new(store: Store, key: str, shards: int, forgotten: ForgottenImages, made: str) -> ShardPlan:
    """Return the plan of a data set that the store has."""
    if store.exists(plan_key(key)) and (before := read_plan(store, key)).made == made:
        return before
    plan = ShardPlan(key, shards, 0, "rgb", None, forgotten.digest, None, made)
    write_plan(store, plan)
    return plan


def _shared_out(
    config: Config,
    store: Store,
    named: tuple[str, int],
    folders: Folders | None,
    forgotten: ForgottenImages,
    unknown: list[tuple[str, SourceFile]],
) -> ShardPlan:
    """Put everything but the plan itself into the store."""
    (key, shards), data = named, config.data
    scratch = Path(config.work_dir) / SHARDS / key / "plan"
    try:
        inputs = open_inputs(config, folders)
        packer = Packer(inputs, config, Outbox(store, scratch, keep=False), forgotten)
        packer.verification()
        packer.checks.finder.close_verification()
        for use, folder in ({} if folders is None else folders.distinct()).items():
            write_listing(store, listing_key(key, use), folder, scratch / "listing")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _refuse_lost(folders)
    found = packer.checks.finder.thresholds
    thresholds = None if found is None else [float(value) for value in found]
    plan = ShardPlan(
        key, shards, data.image_size, data.channel_order, data.max_images_per_identity, forgotten.digest, thresholds
    )
    slices = np.array_split(inputs.selected, shards)
    others = _outside(inputs, unknown)
    for number, numbers in enumerate(slices):
        write_order(store, plan.numbered("order", number), _order(inputs, numbers, others[number::shards], unknown))
    log.info("%s images are shared out among %d shards", f"{len(inputs.selected):,}", shards)
    return plan


def _refuse_lost(folders: Folders | None) -> None:
    """Raise DataError where a file was lost meanwhile: the plan would stand for a source that has it."""
    lost = {} if folders is None else lost_since_hashed(folders.distinct())
    for name, reason in lost.items():
        raise DataError(f"{name} was lost while the work was shared out: {reason}")


def _order(
    inputs: Inputs, numbers: Ints, others: list[tuple[str, SourceFile]], unknown: list[tuple[str, SourceFile]]
) -> Order:
    return Order(
        numbers.astype(np.int64),
        inputs.training.labels[numbers],
        find_places(inputs.training, numbers),
        others,
        owes_checksums=bool(unknown) and isinstance(inputs.training, ImageFileSource),
    )


def _outside(inputs: Inputs, unknown: list[tuple[str, SourceFile]]) -> list[tuple[str, SourceFile]]:
    """Return the files without a checksum that no shard reads as one of its images."""
    source = inputs.training
    if not unknown or not isinstance(source, ImageFileSource):
        return unknown
    read = {source.names[number] for number in inputs.selected.tolist()}
    return [(use, file) for use, file in unknown if use or file.name not in read]


def _key(settings: Mapping[str, Any], folders: Mapping[str, SourceFolder], shards: int) -> str:
    """Return the digest of all that the work depends on; another one each time where a listing has no stamps."""
    digest = hashlib.sha256(json.dumps([FORMAT, ORDERS, shards, settings], sort_keys=True).encode())
    for use, folder in folders.items():
        digest.update(f"{use}\0{folder.identity}\n".encode())
        for file in folder.files.values():
            digest.update(f"{file.name}\0{file.size}\0{file.stamp or secrets.token_hex(8)}\n".encode())
    return digest.hexdigest()[:DIGITS]
