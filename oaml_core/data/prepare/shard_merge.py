"""Makes one data set of the shards of a shared preparation: the same, to the last byte, as one process makes alone."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.config import Config
from oaml_core.data.check.checks import Checks
from oaml_core.data.check.looked_at import LookedImages
from oaml_core.data.check.report import SetAside
from oaml_core.data.prepare.fingerprint import CHECKSUMS, fingerprint_of, fingerprint_of_read, keep_checksums
from oaml_core.data.prepare.finished import StoredDataset, all_settings, committed, refuse_other_settings, reused
from oaml_core.data.prepare.forgotten import forgotten_images
from oaml_core.data.prepare.listed_before import keep_listing
from oaml_core.data.prepare.outbox import Outbox, lacking
from oaml_core.data.prepare.packer import PackedImages, Packer
from oaml_core.data.prepare.parts import draws_of
from oaml_core.data.prepare.shard_files import (
    REMEDY,
    SHARDS,
    ShardPlan,
    fetch_listing,
    listing_key,
    parts_of,
    plan_key,
    read_plan,
    write_plan,
)
from oaml_core.data.prepare.shard_plan import plan_shards
from oaml_core.data.prepare.shard_seams import Lying, Seams
from oaml_core.data.prepare.shards import make_shard
from oaml_core.data.prepared.manifest import ManifestFile
from oaml_core.data.prepared.prepared import DATASETS
from oaml_core.data.sources.base import SourceFolder, TrainingSource, open_folder
from oaml_core.data.sources.inputs import Folders, open_inputs
from oaml_core.data.sources.recordio import parse_record
from oaml_core.data.sources.training_source import NOT_THERE
from oaml_core.errors import DataError, StoreError
from oaml_core.store import MissingObject
from oaml_core.store.local_file import only_one
from oaml_core.store.stored_arrays import read_arrays

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)

TRIES = 3
"""Times that shards are made again whose parts are removed from the store meanwhile."""


def prepare_sharded(config: Config, store: Store, shards: int) -> StoredDataset:
    """Make the data set that `config.data` describes by shards, one after another; those made before are kept.

    Args:
        config: `data`, and `work_dir`.
        store: where the data set goes.
        shards: number of shards.

    Raises:
        DataError, StoreError: as `prepare_dataset`.
    """
    return merge_shards(config, store, plan_shards(config, store, shards).key)


def merge_shards(config: Config, store: Store, key: str) -> StoredDataset:
    """Make the data set of the plan `key`; shards that are missing are made here.

    Args:
        config: the one that the plan was made with.
        store: has the plan and its shards.
        key: of the plan.

    Raises:
        DataError: the checks forbid training on the data set, or the verification sets or the people who are forgotten
            are others than when the work was shared out. StoreError: parts were removed again and again.
    """
    work = Path(config.work_dir) / SHARDS / key
    for _ in range(TRIES):
        plan = read_plan(store, key)
        if plan.made is not None:
            found = reused(config, store, plan.made)
            if found is None:
                raise StoreError(
                    f"The data set {plan.made} was removed from {store.uri} after the work was shared out. Run the "
                    "same command again from its beginning."
                )
            return found
        made = None
        try:
            made = _merged(config, store, plan, work / "merge")
        except MissingObject as error:
            log.warning("%s The shards that had it are made again.", error)
        finally:
            shutil.rmtree(work / "merge", ignore_errors=True)
        if made is not None:
            _tidy(store, replace(plan, made=made.fingerprint))
            return made
        _drop_lacking(store, plan)
    raise StoreError(
        f"{store.url(SHARDS)}/{key}: parts of it were removed from the store {TRIES} times. Run the same command again "
        "when no `oaml store gc --delete` is at work."
    )


def _merged(config: Config, store: Store, plan: ShardPlan, scratch: Path) -> StoredDataset | None:
    """Return the data set, or None if parts of it are gone."""
    for number in range(plan.shards):
        make_shard(config, store, plan.key, number)
    folders, forgotten = _folders(config, store, plan, scratch), forgotten_images(store)
    if forgotten.digest != plan.forgotten:
        raise DataError("People were forgotten after the work was shared out. Run the same command again.")
    settings, distinct = all_settings(config, forgotten), {} if folders is None else folders.distinct()
    cache = Path(config.work_dir) / CHECKSUMS
    _note_lost(store, plan, distinct)
    keep_checksums(distinct, cache, _checksums(store, plan), store)
    fingerprint = fingerprint_of(settings, distinct, cache, store)
    with only_one(Path(config.work_dir) / DATASETS / f".{fingerprint}.lock"):
        if found := reused(config, store, fingerprint):
            return found
        outbox = Outbox(store, scratch / "set", keep=False)
        pack = partial(merge_images, store=store, plan=plan)
        manifest = Packer(open_inputs(config, folders), config, outbox, forgotten, pack).pack(fingerprint, settings)
        refuse_other_settings(config, forgotten, settings)
        manifest = replace(manifest, fingerprint=fingerprint_of_read(fingerprint, settings, distinct, cache))
        if not committed(store, manifest, outbox):
            return None
    keep_listing(store, config.data, settings, distinct, manifest.fingerprint)
    uri = store.url(f"{DATASETS}/{manifest.fingerprint}")
    log.info("%s: %.1f MB of %d shards were packed again at their seams", uri, outbox.sent / 1e6, plan.shards)
    return StoredDataset(uri, manifest.fingerprint, manifest, reused=False)


def _folders(config: Config, store: Store, plan: ShardPlan, scratch: Path) -> Folders | None:
    """Open the source's folders as they were listed when the work was shared out."""
    data = config.data
    if data.source is None:
        return None

    def opened(use: str, source: str) -> SourceFolder:
        listing = fetch_listing(store, listing_key(plan.key, use), scratch / f"listing-{use}")
        return open_folder(source, Path(config.work_dir) / "fetched", listing)

    scratch.mkdir(parents=True, exist_ok=True)
    training = opened("", data.source)
    return Folders(
        training,
        training if data.verification_source is None else opened("verification", data.verification_source),
        training if data.visibility_source is None else opened("visibility", data.visibility_source),
    )


def _note_lost(store: Store, plan: ShardPlan, folders: Mapping[str, SourceFolder]) -> None:
    """Let the folders know the files that a shard could not read; the data set lacks them."""
    for number in range(plan.shards):
        _, about = read_arrays(store, plan.numbered("done", number), REMEDY)
        for use, name, reason in about.get("lost", ()):
            folders[use].lost.note(name, reason)


def _checksums(store: Store, plan: ShardPlan) -> Iterator[tuple[str, str, str]]:
    for number in range(plan.shards):
        _, about = read_arrays(store, plan.numbered("done", number), REMEDY)
        yield from ((use, name, sha256) for use, name, sha256 in about["checksums"])


def merge_images(checks: Checks, outbox: Outbox, *, store: Store, plan: ShardPlan) -> PackedImages:
    """Count the images of all shards, and make the parts that one process would have made.

    Parts that are the same are taken as they are; at the seams, images are copied into new ones.

    Args:
        checks: counts the images.
        outbox: gets the parts.
        store: has the shards.
        plan: names them.

    Raises:
        DataError: the verification sets are others than those that the shards' hashes were made for.
    """
    checks.finder.close_verification()
    found = checks.finder.thresholds
    if (None if found is None else [float(value) for value in found]) != plan.thresholds:
        raise DataError("The verification sets changed while the data set was prepared. Run the same command again.")
    parts: list[list[ManifestFile]] = []
    kept: list[Lying] = []
    for number in range(plan.shards):
        arrays, about = read_arrays(store, plan.numbered("done", number), REMEDY)
        parts.append(parts_of(about))
        kept.append(_counted(checks, arrays, about, number))
        _look_at_alignment(checks, store, kept[-1], parts[number])
    lying = Lying(*(np.concatenate(columns) for columns in zip(*kept, strict=True)))
    places = Seams(store, outbox, parts, lying).places()
    return PackedImages(lying.numbers, places, lying.sides)


def _counted(checks: Checks, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any], shard: int) -> Lying:
    source = checks.inputs.training
    for number, reason in about["damaged"]:
        told = _absent(source, number) if reason.endswith(NOT_THERE) else reason
        checks.set_aside(SetAside(source.name(number), told), int(source.labels[number]))
    images = LookedImages(**{each.name: arrays[each.name] for each in fields(LookedImages)})
    used = checks.looked_at(images)
    taken = images.rows(used)
    whose = np.full(len(taken), shard, dtype=np.int32)
    return Lying(taken.numbers, taken.sides, draws_of(taken.digests), whose, arrays["places"][used])


def _absent(source: TrainingSource, number: int) -> str:
    """Say that a file is absent; a shard knows only the names that it reads, not those that may be meant."""
    try:
        source.read(number)
    except DataError as error:
        return str(error)
    raise DataError("Files were copied into the source after the work was shared out. Run the same command again.")


def _look_at_alignment(checks: Checks, store: Store, lying: Lying, parts: list[ManifestFile]) -> None:
    for row in checks.alignment.pass_by(len(lying.numbers)):
        part, offset, size = map(int, lying.places[row])
        checks.alignment.look(parse_record(store.read_range(parts[part].key, offset, size)).image)


def _drop_lacking(store: Store, plan: ShardPlan) -> None:
    """Forget the results of shards whose parts are gone, so that those are made again."""
    for number in range(plan.shards):
        _, about = read_arrays(store, plan.numbered("done", number), REMEDY)
        if lacking(store, parts_of(about)):
            store.delete(plan.numbered("done", number))


def _tidy(store: Store, plan: ShardPlan) -> None:
    """Say in the plan that all is done, and remove the rest."""
    write_plan(store, plan)
    for info in list(store.list(plan.prefix)):
        if info.key != plan_key(plan.key):
            store.delete(info.key)
