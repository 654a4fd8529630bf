"""A night's data: `prepare`, and what decides before training whether the night goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import DataError, StoreError
from oaml_core.notify import notify
from oaml_core.stages.addresses import dated_name
from oaml_core.stages.drift_stage import data_set_in_production, measure_drift
from oaml_core.stages.nights import begin_night
from oaml_core.stages.prepare_stage import Prepared, counts, merge_shards, plan_shards, prepare
from oaml_core.store import Store, open_store

if TYPE_CHECKING:
    from oaml_core.data.prepared.manifest import Manifest

log = logging.getLogger(__name__)


def plan_night(config: Config, shards: int) -> list[str]:
    """Begin a night whose data are prepared by several processes; return their orders.

    Raises:
        OamlError: nights are stopped, or the disk is full. DataError: the source cannot be used.
    """
    begin_night(config)
    return plan_shards(config, shards)


def prepare_night(config: Config, orders: Sequence[str] = ()) -> Prepared:
    """Begin a night: prepare the data, unless nights are stopped, and judge it before anything is trained.

    Args:
        config: the whole configuration.
        orders: those that `plan_night` gave, where other processes have looked at the images.

    Raises:
        OamlError: nights are stopped, or the disk is full. DataError: the source cannot be used, or tonight's faces are
            unlike those of the model in production, and `nightly.drift` is `stop`.
    """
    if orders:
        return judged_night(config, merge_shards(config, orders[0]))
    begin_night(config)
    return judged_night(config, prepare(config))


def judged_night(config: Config, prepared: Prepared) -> Prepared:
    """Return tonight's data set, or that of the model in production where too little is new; tell people of either.

    Raises:
        DataError: as `prepare_night`.
    """
    known = _in_production(config, prepared)
    if known is None:
        return prepared
    if reason := _too_little_new(config, prepared, known):
        log.info("night: skipped: %s", reason)
        notify(f"OAML, {dated_name(config)}: nothing is trained: {reason}", "NightSkipped")
        return known
    if config.nightly.drift != "off":
        _look_for_drift(config, prepared.fingerprint, known.fingerprint)
    return prepared


def data_of_night(config: Config, prepared: Prepared) -> Prepared:
    """Return the data set that `judged_night` chose for a night that has ended, without another word to people."""
    known = _in_production(config, prepared)
    return known if known is not None and _too_little_new(config, prepared, known) else prepared


def _in_production(config: Config, prepared: Prepared) -> Prepared | None:
    """Return the data set of the model in production, where it is another one than tonight's and matters."""
    nightly = config.nightly
    if nightly.drift == "off" and not nightly.least_new_images:
        return None
    reference = data_set_in_production(config)
    if reference is None or reference == prepared.fingerprint:
        return None
    known = _known(config, reference)
    if known is None:
        log.warning("night: the data set %s of the model in production is gone; nothing is compared", reference)
    return known


def _too_little_new(config: Config, prepared: Prepared, known: Prepared) -> str:
    """Return why tonight's data are not worth a training; empty where they are."""
    grown, least = prepared.summary["images"] - known.summary["images"], config.nightly.least_new_images
    if not 0 <= grown < least:  # images have gone: the model in production knows what it must not, or should not
        return ""
    from oaml_core.stages.new_images import count_new_images

    store = open_store(config.store)
    before, now = (_manifest(store, each.fingerprint) for each in (known, prepared))
    new = count_new_images(store, before, now, least)
    return f"{amount(new, 'new image')}; nightly.least_new_images is {least:,}" if new < least else ""


def _look_for_drift(config: Config, fingerprint: str, reference: str) -> None:
    try:
        found = measure_drift(config, fingerprint, reference)
    except (DataError, StoreError) as error:
        if config.nightly.drift == "stop":
            raise
        _warn(config, f"whether tonight's faces are like those of the model in production cannot be told: {error}")
        return
    log.info("night: tonight's faces and those of the model in production\n%s", found.summary)
    if not found.shifted:
        return
    said = ", ".join(
        f"{each.measure} {each.reference_median:.3g} → {each.median:.3g} (PSI {each.stability_index:.2f})"
        for each in found.differences
        if each.measure in found.shifted
    )
    if config.nightly.drift == "stop":
        raise DataError(
            f"Tonight's faces are unlike those of the model in production: {said}. Look at them with `oaml inspect`; "
            "if they are meant so, set nightly.drift to warn for one night."
        )
    _warn(config, f"tonight's faces are unlike those of the model in production: {said}")


def _warn(config: Config, said: str) -> None:
    log.warning("night: %s", said)
    notify(f"OAML, {dated_name(config)}: {said}", "NightDataChanged")


def _known(config: Config, fingerprint: str) -> Prepared | None:
    """Return the prepared data set of that fingerprint; None if the store has none."""
    from oaml_core.data.prepared.prepared import DATASETS, manifest_key

    store = open_store(config.store)
    if not store.exists(manifest_key(fingerprint)):
        return None
    summary = counts(_manifest(store, fingerprint))
    return Prepared(store.url(f"{DATASETS}/{fingerprint}"), fingerprint, True, summary)


def _manifest(store: Store, fingerprint: str) -> Manifest:
    from oaml_core.data.prepared.manifest import parse_manifest
    from oaml_core.data.prepared.prepared import manifest_key

    key = manifest_key(fingerprint)
    return parse_manifest(store.read_bytes(key), store.url(key))
