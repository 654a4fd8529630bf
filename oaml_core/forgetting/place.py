"""The interface of a place that may hold something of a person, and what the places share while they are searched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oaml_core.forgetting.person import Person
from oaml_core.store import Store


@dataclass(frozen=True)
class Item:
    """One thing of the person, in one object or file."""

    where: str
    """Address or path."""
    what: str
    """In words, without a name."""
    before: str = ""
    """SHA-256 of the object before; empty for what is not one object."""


@dataclass(frozen=True)
class Change:
    """An item that was removed."""

    item: Item
    after: str | None
    """SHA-256 of the object afterwards; None: it is gone."""


@dataclass(frozen=True)
class Remainder:
    """A thing of the person that stays, or a place that could not be searched."""

    where: str
    why: str


@dataclass
class SetTraces:
    """Traces of the person in one data set, by which everything made from it is found."""

    classes: set[int] = field(default_factory=set)
    """Labels of identities that go as a whole."""
    touched: set[int] = field(default_factory=set)
    """Labels of identities that lose some of their images."""
    pairs: dict[str, list[int]] = field(default_factory=dict)
    """Verification pairs that go, by set, as this data set numbers them."""
    scored: dict[str, list[int]] = field(default_factory=dict)
    """The same pairs as stored scores number them, which earlier requests have made shorter."""
    digests: dict[str, str] = field(default_factory=dict)
    """Digest of the pairs that are left, by set, as evaluations name them."""

    def add(
        self,
        classes: Iterable[int],
        touched: Iterable[int],
        pairs: Mapping[str, list[int]],
        scored: Mapping[str, list[int]],
    ) -> None:
        """Take more of what the data set held."""
        self.classes |= set(classes)
        self.touched |= set(touched)
        self.pairs |= pairs
        self.scored |= scored


@dataclass
class Case:
    """One request: whom, where, and what is known so far."""

    person: Person
    store: Store
    work: Path
    """`work_dir`: local caches and runs."""
    galleries: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Further local folders with checkpoints and reports."""
    traces: dict[str, SetTraces] = field(default_factory=lambda: defaultdict(SetTraces))
    """Traces by fingerprint of the data set."""
    successors: dict[str, str] = field(default_factory=dict)
    """Fingerprint of the data set without the person, by that of the one before."""
    known_sets: set[str] = field(default_factory=set)
    """Fingerprints of all data sets that could be searched, and of those that these were made from."""

    @property
    def scratch(self) -> Path:
        """Local folder for copies of what is searched; removed at the end and at the next start."""
        return self.work / ".forgetting"


class Place(ABC):
    """A place that may hold something of a person."""

    name: str
    """Name in receipts and messages."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.looked_at = 0
        """Objects or files that were searched."""
        self.remains: list[Remainder] = []

    @abstractmethod
    def search(self) -> list[Item]:
        """Return all that is there of the person, and change nothing."""

    @abstractmethod
    def erase(self) -> list[Change]:
        """Remove what `search` found; giving it again after a kill ends where one run would have."""
