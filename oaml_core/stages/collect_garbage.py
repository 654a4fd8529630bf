"""What in a store nobody needs any more: found first, removed only when asked.

Kept are the runs that production refers to, those of the models that were in production during the last nights, pinned
runs, and whatever is young; of data sets, those that kept runs were trained on; of cost records, those of the last two
months and of kept runs. Objects of other names are left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from oaml_core.data.prepare.outbox import COMMITTING
from oaml_core.errors import StoreError
from oaml_core.stages.cost_records import COSTS
from oaml_core.stages.old_costs import old_costs
from oaml_core.stages.production import champion, records
from oaml_core.store import ObjectInfo, Store
from oaml_core.store.lease import lease

PINS = "pins"
FILES = "datasets/files"
GROUPED = ("runs/", "adopted/", "datasets/", "shards/")
"""Objects below these belong together by the next part of their key."""


@dataclass(frozen=True)
class Garbage:
    """The objects that can go, and those that stay."""

    objects: list[ObjectInfo]
    """In the order of removal: what makes a run or a data set complete goes first."""
    uploads: list[ObjectInfo]
    """What was begun to be put long ago and never ended."""
    kept: dict[str, str] = field(default_factory=dict)
    """Why each run or data set that stays does: `{"runs/oaml-1": "in production"}`."""

    @property
    def size(self) -> int:
        """Size of the objects in bytes."""
        return sum(info.size for info in self.objects)


def pin(store: Store, run: str) -> None:
    """Keep the run `runs/<run>` for good.

    Raises:
        StoreError: there is no such run.
    """
    if next(iter(store.list(f"runs/{run}/")), None) is None:
        raise StoreError(f"There is no run {store.url(f'runs/{run}')}; `oaml store ls runs/` lists them.")
    store.write_bytes(f"{PINS}/{run}", datetime.now(UTC).isoformat(timespec="seconds").encode())


def unpin(store: Store, run: str) -> None:
    """Keep it no longer than other runs.

    Raises:
        StoreError: it is not pinned.
    """
    if not store.exists(f"{PINS}/{run}"):
        raise StoreError(f"{run} is not pinned; `oaml store ls {PINS}/` lists the runs that are.")
    store.delete(f"{PINS}/{run}")


def find_garbage(store: Store, nights: int, youngest: timedelta, now: datetime | None = None) -> Garbage:
    """Find objects that nothing refers to.

    Args:
        nights: days back from now; models that were in production at any time since are kept with their runs.
        youngest: what was put since then is kept: it may belong to a run that goes on.

    Raises:
        StoreError: a record of production cannot be read, so that nothing can be said.
    """
    now = now or datetime.now(UTC)
    groups: dict[str, list[ObjectInfo]] = defaultdict(list)
    costs: list[ObjectInfo] = []
    priors: set[str] = set()
    for info in store.list():
        if info.key.startswith(GROUPED):
            groups[_group(info.key)].append(info)
        elif info.key.startswith(f"{COSTS}/"):
            costs.append(info)
        elif info.key.startswith("priors/"):
            priors.add(_group(info.key))
    kept = dict(_referred(store, now - timedelta(days=nights)))
    for group, members in groups.items():
        if any(member.modified is None or member.modified > now - youngest for member in members):
            kept.setdefault(group, "young")
    kept |= _data_sets(store, groups, kept)
    gone = [info for group, members in groups.items() if group not in kept for info in members]
    gone += old_costs(store, costs, {run.rpartition("/")[2].rpartition("-")[2] for run in {*kept, *priors}}, now)
    uploads = [upload for upload in store.unfinished() if upload.modified and upload.modified < now - youngest]
    return Garbage(sorted(gone, key=_removal_order), uploads, {group: kept[group] for group in kept if group in groups})


def remove(store: Store, garbage: Garbage) -> None:
    """Remove what `find_garbage` has found, but for content that a data set has come to need since.

    No manifest is written while content goes, so that none names what is gone.
    """
    content: list[ObjectInfo] = []
    rest: list[ObjectInfo] = []
    for info in garbage.objects:
        (content if info.key.startswith(f"{FILES}/") else rest).append(info)
    for info in rest:
        store.delete(info.key)
    if content:
        with lease(store, COMMITTING, kept=True) as held:
            needed = _named(store)
            for info in content:
                held.require()
                if info.key not in needed:
                    store.delete(info.key)
    for upload in garbage.uploads:
        store.forget_unfinished(upload.key)
    store.tidy()


def _named(store: Store) -> set[str]:
    """Return keys of all content that the manifests in a store name now."""
    keys = [info.key for info in store.list("datasets/") if info.key.endswith("/manifest.json")]
    return {file["key"] for key in keys for file in store.read_json(key).get("files", [])}


def _group(key: str) -> str:
    """Objects of one run or data set have the same; each content that data sets share has its own."""
    parts = key.split("/")
    return key if key.startswith(f"{FILES}/") else "/".join(parts[:2])


def _removal_order(info: ObjectInfo) -> tuple[bool, str]:
    return (not info.key.endswith(".json"), info.key)


def _referred(store: Store, since: datetime) -> Iterator[tuple[str, str]]:
    """Runs that production, its history since then, and pins refer to, and why."""
    for info in store.list(f"{PINS}/"):
        yield f"runs/{info.key.removeprefix(f'{PINS}/')}", "pinned"
    history = records(store)
    first = max((number for number, each in enumerate(history) if not _after(each, since)), default=0)
    for each in history[first:]:
        yield from _runs(each, f"version {each['version']}, in production lately")
    present = champion(store)
    if present is None:
        return
    before = next((each for each in history if each["version"] == present.get("previous")), None)
    if before is not None:
        yield from _runs(before, f"version {before['version']}, to roll back to")
    yield from _runs(present, f"version {present['version']}, in production")


def _after(record: Mapping[str, Any], since: datetime) -> bool:
    promoted = record["promoted_at"]
    return bool(promoted) and datetime.fromisoformat(promoted) > since


def _runs(record: Mapping[str, Any], why: str) -> Iterator[tuple[str, str]]:
    for name in ("model_uri", "metrics_uri"):
        for top in ("runs", "adopted"):
            _, found, rest = record[name].rpartition(f"/{top}/")
            if found:
                yield f"{top}/{rest.split('/')[0]}", why


def _data_sets(store: Store, groups: Mapping[str, list[ObjectInfo]], kept: Mapping[str, str]) -> dict[str, str]:
    """Data sets that kept runs were trained on, and their content. If a run does not say: all of them."""
    sets = [group for group in groups if group.startswith("datasets/") and not group.startswith(f"{FILES}/")]
    wanted = {group: kept[group] for group in sets if group in kept}
    for run in (group for group in kept if group in groups and group.startswith(("runs/", "adopted/"))):
        fingerprints = _fingerprints(store, groups[run])
        if fingerprints:
            wanted |= {f"datasets/{fingerprint}": f"data of {run}" for fingerprint in fingerprints}
        else:
            wanted = dict.fromkeys(sets, f"{run} does not say what it was trained on") | wanted
    content: dict[str, str] = {}
    for group in wanted:
        manifest = f"{group}/manifest.json"
        if group in groups and any(info.key == manifest for info in groups[group]):
            files = store.read_json(manifest).get("files", [])
            content |= {file["key"]: f"content of {group}" for file in files}
    return wanted | content


def _fingerprints(store: Store, run: list[ObjectInfo]) -> set[str]:
    measured = [info.key for info in run if info.key.endswith("/metrics.json")]
    contexts = [store.read_json(key).get("context", {}) for key in measured]
    return {context["dataset_fingerprint"] for context in contexts if "dataset_fingerprint" in context}
