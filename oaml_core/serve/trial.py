"""A new model on trial: a share of the requests is answered by it, and by the present one to compare the two."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from oaml_core.errors import ConfigError
from oaml_core.serve.faces import FaceService


class Decided(Protocol):
    """An answer that holds a decision and its score."""

    @property
    def decision(self) -> str: ...

    @property
    def score(self) -> float: ...


@dataclass(frozen=True)
class TrialRules:
    """Rules by which a new model takes over, or is refused."""

    share: float = 0.1
    """Share of the requests that compare, answered by the new model; 0: it takes over once its self-test has passed."""
    requests: int = 50
    """Requests answered by the new model after which the trial ends."""
    seconds: float = 600.0
    """Time after which the trial ends with however few requests."""
    differing: float = 0.1
    """Share of them that may be decided otherwise than by the present model."""

    def __post_init__(self) -> None:
        if not (0 <= self.share <= 1 and 0 <= self.differing <= 1 and self.requests >= 1 and self.seconds >= 0):
            raise ConfigError(
                f"{self} cannot be: shares are between 0 and 1, requests at least 1, seconds not negative."
            )


class Trial:
    """One new model, and how it has done so far; threads may share it.

    Args:
        faces: answers by the new model.
        name: by which the source names it.
        rules: when it takes over.
        clock: seconds, never running backwards.
    """

    def __init__(
        self, faces: FaceService, name: str, rules: TrialRules, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.faces, self.name = faces, name
        self._rules, self._clock = rules, clock
        self._began = clock()
        self._lock = threading.Lock()
        self._owed = 0.0
        self._asked = 0
        self._differing = 0
        self._scores: list[tuple[float, float]] = []
        self._failure = ""

    def is_next(self) -> bool:
        """Return True if the trial takes the next request: `share` of them, evenly."""
        with self._lock:
            if self._failure or self._asked >= self._rules.requests:
                return False
            self._owed += self._rules.share
            if self._owed < 1:
                return False
            self._owed -= 1
            return True

    def fail(self, reason: str) -> None:
        """Note that the new model could not answer; the first reason stays."""
        with self._lock:
            self._failure = self._failure or reason

    def compare(self, new: Decided, present: Decided) -> None:
        """Note one request that both models have answered."""
        if not np.isfinite(new.score):
            self.fail("a score is not finite")
            return
        with self._lock:
            self._asked += 1
            self._differing += new.decision != present.decision
            self._scores.append((new.score, present.score))

    @property
    def failure(self) -> str:
        """Return the reason why the new model may not take over; empty if there is none. It is final if the trial
        `is_over`."""
        with self._lock:
            if self._failure:
                return self._failure
            bound = self._rules.differing * self._rules.requests
            if self._differing > bound:
                return f"{self._differing} of {self._asked} requests were decided otherwise"
            new, present = map(set, zip(*self._scores, strict=True)) if self._scores else (set(), set())
            if len(new) == 1 and len(present) > 1 and self._asked >= self._rules.requests:
                return "all its scores are the same, and those of the present model are not"
            return ""

    @property
    def is_over(self) -> bool:
        """Return True if more requests would not change the result of the trial."""
        if self.failure or not self._rules.share:
            return True
        with self._lock:
            return self._asked >= self._rules.requests or self._clock() - self._began >= self._rules.seconds
