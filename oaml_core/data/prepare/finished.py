"""A prepared data set that the store has: found again, or made complete by its manifest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oaml_core.config import Config
from oaml_core.data.prepare.fingerprint import shaping_settings
from oaml_core.data.prepare.forgotten import ForgottenImages
from oaml_core.data.prepare.outbox import COMMITTING, Outbox, lacking
from oaml_core.data.prepared.manifest import MANIFEST, Manifest, parse_manifest
from oaml_core.data.prepared.prepared import DATASETS, manifest_key
from oaml_core.errors import DataError
from oaml_core.store.lease import lease

if TYPE_CHECKING:
    from oaml_core.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredDataset:
    """A data set in the store."""

    uri: str
    """`…/datasets/<fingerprint>`: what `fetch_prepared` takes."""
    fingerprint: str
    manifest: Manifest
    reused: bool
    """True if it was there already and nothing was copied."""


def all_settings(config: Config, forgotten: ForgottenImages) -> dict[str, Any]:
    """Return all that shapes a data set beside its source: configuration keys, and which images must stay out."""
    return shaping_settings(config) | ({"forgotten": forgotten.digest} if forgotten else {})


def refuse_other_settings(config: Config, forgotten: ForgottenImages, settings: dict[str, Any]) -> None:
    """Raise DataError if files that the configuration names have changed since `settings` was made of them."""
    now = all_settings(config, forgotten)
    if changed := [name for name in settings if now.get(name) != settings[name]]:
        raise DataError(
            f"The file that {changed[0]} names has changed while the data set was prepared. Run the same command again."
        )


def reused(config: Config, store: Store, fingerprint: str) -> StoredDataset | None:
    """Return the data set of that fingerprint if the store has all of it, else None.

    Raises:
        DataError: more of it is broken than the configuration tolerates.
    """
    uri = store.url(f"{DATASETS}/{fingerprint}")
    if not store.exists(manifest_key(fingerprint)):
        return None
    manifest = parse_manifest(store.read_bytes(manifest_key(fingerprint)), f"{uri}/{MANIFEST}")
    _refuse_broken(manifest, config)
    if gone := lacking(store, manifest.files):
        log.warning("%s lacks %d of %d files; they are made again.", uri, len(gone), len(manifest.files))
        return None
    return StoredDataset(uri, fingerprint, manifest, reused=True)


def committed(store: Store, manifest: Manifest, outbox: Outbox) -> bool:
    """Write the manifest, if the store has every file of it; no garbage is collected meanwhile."""
    with lease(store, COMMITTING, kept=True) as held:
        if gone := outbox.lacking():
            log.warning("%d files were removed from the store meanwhile; the data set is packed again.", len(gone))
            return False
        held.require()
        store.write_bytes(manifest_key(manifest.fingerprint), manifest.to_json().encode())
    return True


def _refuse_broken(manifest: Manifest, config: Config) -> None:
    tolerated = config.data.broken_images_tolerated
    if manifest.set_aside > tolerated * manifest.images_looked_at:
        raise DataError(
            f"{manifest.set_aside:,} of {manifest.images_looked_at:,} training images are broken, {tolerated:.3%} are "
            "tolerated: copy the source again, or raise data.broken_images_tolerated."
        )
