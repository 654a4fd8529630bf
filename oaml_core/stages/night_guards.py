"""Guards of nights: what keeps one from beginning, all of it said at once."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from oaml_core.amounts import amount, first_of
from oaml_core.config import Config
from oaml_core.errors import NotBegun, OamlError, OverBudget
from oaml_core.stages.budget import limits, refuse_night
from oaml_core.stages.night_records import JUDGED, Night, past_nights
from oaml_core.stages.present_night import NIGHTS, RESUMED, night_key
from oaml_core.store import Store, open_store


def require_guards(config: Config, store: Store, records: Sequence[str]) -> None:
    """Return if nothing is against a night.

    Args:
        config: the whole configuration.
        store: that holds the records of nights.
        records: their keys, in order.

    Raises:
        OverBudget: the month's budget alone is. NotBegun: anything else is; both say all that is, and what to do.
    """
    nights = past_nights(store, config, records)
    reasons: list[OamlError] = []
    failed, most = failed_in_a_row(store, config, nights), config.nightly.stop_after_failures
    if most and len(failed) >= most:
        reasons.append(
            NotBegun(
                f"The last {amount(len(failed), 'night')} failed, and nightly.stop_after_failures is {most}; the last "
                f"one: {failed[-1].reason.rstrip('.')}. Mend that, then `oaml nightly resume --name {config.name}`."
            )
        )
    reasons += [NotBegun(f"{said}: free some, or `oaml store gc --delete`.") for said in lacking_space(config)]
    try:
        refuse_night(config, [night.cost for night in nights if night.state in JUDGED] if any(limits(config)) else [])
    except OverBudget as refusal:
        reasons.append(refusal)
    if reasons:
        kind = OverBudget if all(isinstance(each, OverBudget) for each in reasons) else NotBegun
        raise kind(" ".join(map(str, reasons)))


def failed_in_a_row(store: Store, config: Config, nights: Sequence[Night]) -> list[Night]:
    """Return the nights since the last one that did not fail, and since nights were resumed.

    Args:
        store: that holds their records.
        config: `name`.
        nights: all that are on record, the last one last.
    """
    if not nights:
        return []
    key = night_key(config, RESUMED)
    since = store.read_json(key, {"when": str}, "Run `oaml nightly resume` again.")["when"] if store.exists(key) else ""
    found: list[Night] = []
    for night in nights:
        if night.state not in ("over budget", "not begun"):  # neither a failure nor a success
            found = [*found, night] if night.state == "failed" and night.ended > since else []
    return found


def lacking_space(config: Config) -> list[str]:
    """Return, for each disk that a night writes to and that is nearly full, how much is free."""
    address = open_store(config.store).uri
    folders = [Path(config.work_dir)] + (
        [Path(address.removeprefix("file://"))] if address.startswith("file://") else []
    )
    found = []
    for folder in folders:
        path = folder.absolute()
        existing = next(each for each in (path, *path.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        if free < config.nightly.least_free_gb * 1e9:
            least = f"nightly.least_free_gb is {config.nightly.least_free_gb:g}"
            found.append(f"{path} has {free / 1e9:.1f} GB free, and {least}")
    return found


def names_with_nights(store: Store, config: Config) -> str:
    """Return a sentence that names the other runs which do have nights in a store; empty where there are none."""
    keys = [info.key.split("/")[1:-1] for info in store.list(f"{NIGHTS}/")] if store.is_made() else []
    names = {"/".join(parts) for parts in keys} - {config.name}
    return f" There are nights of {first_of(sorted(names))}: see --name." if names else ""
