"""Budget of nights: the GPU-hours and core-hours that a night and a calendar month (UTC) may cost.

Sums are those of the cost records of all runs of one name, whoever started them. They bind the pipeline alone: a
command that a person types counts, and is never refused.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from statistics import median
from typing import Literal

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import OamlError, OverBudget, StoreError
from oaml_core.orderly_end import ends_in_its_own_time
from oaml_core.stages.cost_records import Cost, CostRecords
from oaml_core.stages.present_night import CLOCKS, LONGEST_NIGHT, is_in_pipeline, night_began
from oaml_core.store import open_store

log = logging.getLogger(__name__)

Period = Literal["night", "month"]
UNITS = {"gpu_hours": "GPU-hours", "core_hours": "core-hours"}
"""Fields of `Cost` that can be limited, and their names in words."""
SIGN_OF_LIFE = timedelta(minutes=10)
"""Time within which a step that is at work writes its record several times."""
NIGHTS_TO_JUDGE_BY = 7
"""Nights that brought a model to the gate, by whose median the need of the next one is judged."""


@dataclass(frozen=True)
class Limit:
    """One limit of `config.nightly`."""

    period: Period
    unit: str
    """Field of `Cost`."""
    most: float
    """Hours, more than 0."""

    @property
    def key(self) -> str:
        """Key of the configuration."""
        return f"nightly.most_{self.unit}_per_{self.period}"


def limits(config: Config) -> Iterator[Limit]:
    """Yield the limits that are set."""
    for period in ("night", "month"):
        for unit in UNITS:
            limit = Limit(period, unit, 0.0)
            if most := getattr(config.nightly, limit.key.partition(".")[2]):
                yield Limit(limit.period, unit, most)


def month_begins(now: datetime, months_later: int = 0) -> datetime:
    """Return the beginning of the calendar month of `now` in UTC, or that of a later one."""
    now = now.astimezone(UTC)
    years, month = divmod(now.month - 1 + months_later, 12)
    return datetime(now.year + years, month + 1, 1, tzinfo=UTC)


class Budget:
    """Sums that the nights of a name have spent, and their limits.

    Args:
        config: `name`, `store` and `nightly`.
    """

    def __init__(self, config: Config) -> None:
        self._config, self._limits = config, list(limits(config))
        self._asked = False

    @cached_property
    def _records(self) -> CostRecords:
        return CostRecords(open_store(self._config.store), self._config.name)

    def spent(self, period: Period, now: datetime | None = None) -> Cost:
        """Return what the last night that began has cost so far, or this month has; nothing before the first night.

        Raises:
            StoreError: the records cannot be read.
        """
        if period == "month":
            now = now or datetime.now(UTC)
            return self._records.between(month_begins(now), month_begins(now, 1))
        began, now = night_began(self._config), now or datetime.now(UTC)
        if began is None:
            return Cost()
        # A clock that was wrong has put records, or the beginning itself, into the future.
        since = began if began <= now + CLOCKS else now - LONGEST_NIGHT
        return self._records.between(since, now + CLOCKS)

    def is_at_work(self, began: datetime, now: datetime) -> bool:
        """Return True if a step of the night that began then has told of itself in the last minutes."""
        ends = (each.began.timestamp() + each.seconds for each in self._records.read(since=began))
        return any(
            now - SIGN_OF_LIFE <= datetime.fromtimestamp(end, UTC) for end in ends if end <= (now + CLOCKS).timestamp()
        )

    def damaged(self, now: datetime) -> list[str]:
        """Return what is wrong with each damaged record of this month, and how it counts.

        Raises:
            StoreError: the records cannot be read.
        """
        found = self._records.read(since=month_begins(now))
        return [f"{each.damage} It counts as the costliest attempt at {each.step}." for each in found if each.damage]

    def overspent(self, now: datetime | None = None) -> str:
        """Return which limits are reached, in words; empty while none is, and outside of the pipeline.

        Raises:
            StoreError: the records cannot be read.
        """
        if not self._limits or not is_in_pipeline():
            return ""
        spent = {period: self.spent(period, now) for period in {limit.period for limit in self._limits}}
        reached = [limit for limit in self._limits if getattr(spent[limit.period], limit.unit) >= limit.most]
        return "; ".join(_reached(limit, spent[limit.period]) for limit in reached)

    def require(self) -> None:
        """Return if a step may begin.

        Raises:
            OverBudget: says which limit is reached. StoreError: the records cannot be read.
        """
        if said := self.overspent():
            raise OverBudget(f"{said}, and no further step begins. {_GOES_ON}")

    def watch(self) -> None:
        """Ask the training in this process, if there is one, for an orderly end where a limit is reached.

        Training is asked by SIGTERM, for which it writes a checkpoint. Other steps are let come to their end.
        """
        if self._asked or not (said := self._known()):
            return
        if ends_in_its_own_time():
            log.warning("%s: training is asked to end.", said)
            self._asked = True
            os.kill(os.getpid(), signal.SIGTERM)

    def explain(self, ended: BaseException) -> None:
        """Return where what ended a step has nothing to do with a budget.

        Raises:
            OverBudget: a limit is reached.
        """
        if isinstance(ended, OverBudget) or not (said := self._known()):
            return
        why = f" The step ended with: {ended}" if isinstance(ended, OamlError) else ""
        raise OverBudget(f"{said}, and this step was ended. {_GOES_ON}{why}") from ended

    def _known(self) -> str:
        """Return which limit is reached; empty, and a line in the log, where that cannot be known now."""
        try:
            return self.overspent()
        except (StoreError, OSError) as error:
            log.warning("What the night has spent is not known: %s", error)
            return ""


_GOES_ON = (
    "Production is untouched. The next night goes on from the newest checkpoint if its data and configuration are the "
    "same."
)


def refuse_night(config: Config, costs: Sequence[Cost], now: datetime | None = None) -> None:
    """Return if this month's budget is enough for a night.

    Args:
        config: `name`, `store` and `nightly`.
        costs: of the last nights that brought a model to the gate, oldest first.
        now: the present; None: the clock's.

    Raises:
        OverBudget: it is spent, or less is left than the last nights needed, by their median; says so of each limit.
        StoreError: the records cannot be read.
    """
    now = now or datetime.now(UTC)
    if said := list(_against(config, costs, now)):
        raise OverBudget(" ".join(said))


def _against(config: Config, costs: Sequence[Cost], now: datetime) -> Iterator[str]:
    """Yield what each limit of the month has against a night."""
    nightly = {limit.unit: limit.most for limit in limits(config) if limit.period == "night"}
    for limit in (limit for limit in limits(config) if limit.period == "month"):
        spent = Budget(config).spent("month", now)
        left = limit.most - getattr(spent, limit.unit)
        if left <= 0:
            yield f"{_reached(limit, spent)}: no night begins. {_until(limit, now)}"
            continue
        last = [getattr(cost, limit.unit) for cost in costs[-NIGHTS_TO_JUDGE_BY:]]
        need = min(median(last) if last else 0.0, nightly.get(limit.unit, limit.most))
        if left < need:
            yield (
                f"{left:.4g} of {limit.key} {limit.most:g} are left this month, and the last "
                f"{amount(len(last), 'night')} needed {need:.4g} (median): no night begins. {_until(limit, now)}"
            )


@dataclass(frozen=True)
class BudgetStatus:
    """What nights have spent and may, in words."""

    wrong: list[str]
    """What keeps nights from beginning, and records that cannot be read."""
    lines: list[str]
    """Cost of the last night and of this month, and what is left of each limit."""


def told_budget(config: Config, costs: Sequence[Cost], now: datetime) -> BudgetStatus:
    """Say what nights of this name have spent, and may.

    Args:
        config: `name`, `store` and `nightly`.
        costs: as `refuse_night` takes them.
        now: the present.

    Raises:
        StoreError: the records cannot be read.
    """
    budget, began, wrong = Budget(config), night_began(config), []
    whens: list[tuple[Period, str]] = [("month", f"{month_begins(now):%B %Y} (UTC)")]
    if began is not None:
        whens.insert(0, ("night", f"the night that began on {began:%Y-%m-%d at %H:%M} UTC"))
    lines = []
    for period, when in whens:
        spent = budget.spent(period, now)
        left = [
            f"; {max(0.0, limit.most - getattr(spent, limit.unit)):.2f} of {limit.most:g} {UNITS[limit.unit]} are left"
            for limit in limits(config)
            if limit.period == period
        ]
        lines.append(f"{when}: {spent.told}{''.join(left)}")
    try:
        refuse_night(config, costs, now)
    except OverBudget as refusal:
        wrong.append(str(refusal))
    damaged = budget.damaged(now)
    return BudgetStatus(wrong + damaged, lines) if any(limits(config)) else BudgetStatus([], lines + damaged)


def _reached(limit: Limit, spent: Cost) -> str:
    return (
        f"{getattr(spent, limit.unit):.4g} {UNITS[limit.unit]} are spent this {limit.period}, "
        f"and {limit.key} is {limit.most:g}"
    )


def _until(limit: Limit, now: datetime) -> str:
    return f"The first one begins after {month_begins(now, 1):%Y-%m-%d} 00:00 UTC, or when {limit.key} is raised."
