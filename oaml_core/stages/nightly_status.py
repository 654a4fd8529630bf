"""Say whether nights end as they should: what `oaml nightly status` prints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from oaml_core.config import Config
from oaml_core.stages.budget import Budget, told_budget
from oaml_core.stages.night_guards import failed_in_a_row, lacking_space, names_with_nights
from oaml_core.stages.night_records import JUDGED, read_nights, record_keys
from oaml_core.stages.nights import TROUBLES
from oaml_core.stages.present_night import LONGEST_NIGHT, unended
from oaml_core.stages.retraining import retraining_due
from oaml_core.store import Store, open_store


@dataclass(frozen=True)
class NightStatus:
    """The state of the nightly runs, by their records."""

    is_well: bool
    lines: list[str]
    """In words, what is wrong first."""


def night_status(config: Config, hours: float, now: datetime | None = None) -> NightStatus:
    """Say whether nights end as they should.

    Args:
        config: `name`, `store`, `work_dir` and `nightly`.
        hours: time within which a run must have ended.
        now: the present; None: the clock's.

    Raises:
        StoreError: the store cannot be read.
    """
    now = now or datetime.now(UTC)
    store = open_store(config.store)
    nights, damaged = read_nights(store, config, now) if store.is_made() else ([], [])
    spent = told_budget(config, [night.cost for night in nights if night.state in JUDGED], now)
    wrong, open_end = _unended(store, config, now)
    wrong += damaged
    if not nights:
        others = names_with_nights(store, config)
        why = "" if wrong or open_end else " Is it scheduled?"
        none = f"No run of {config.name} has ended yet in {store.uri}.{why}{others}"
        return NightStatus(False, [none, *wrong, *open_end, *spent.wrong, *spent.lines])
    last = nights[-1]
    age = now - datetime.fromisoformat(last.ended)
    if last.state in TROUBLES:
        wrong.insert(0, f"The last run {TROUBLES[last.state][0]}: {last.reason}")
    if age > timedelta(hours=hours):
        wrong.insert(0, f"No run has ended for {age.total_seconds() / 3600:.0f} hours; {hours:g} are allowed.")
    most = config.nightly.stop_after_failures
    if most and len(failed_in_a_row(store, config, nights)) >= most:
        wrong.append(f"Nights begin no more: {most} failed in a row. `oaml nightly resume` lets them.")
    wrong += [f"{said}." for said in lacking_space(config)]
    if (due := retraining_due(store)) is not None:
        wrong.append(
            f"Version {due['version']} in production must be trained anew since {due['since']}: {due['reason']}."
        )
    said = [f"{each.ended[:16].replace('T', ' ')}  {each.state:<11}  {each.reason}" for each in nights[-7:]]
    return NightStatus(not wrong and not spent.wrong, [*wrong, *spent.wrong, *said, *open_end, *spent.lines])


def _unended(store: Store, config: Config, now: datetime) -> tuple[list[str], list[str]]:
    """Return a sentence on the night that has begun and not ended: as what is wrong, or as what is to be known."""
    began = unended(config, record_keys(store, config, now) if store.is_made() else (), now)
    if began is None:
        return [], []
    said = f"The night that began on {began:%Y-%m-%d at %H:%M} UTC has not ended"
    if Budget(config).is_at_work(began, now):
        return [], [f"{said}: it is at work."]
    said += ", and none of its steps is at work."
    return ([said], []) if now - began >= LONGEST_NIGHT else ([], [said])
