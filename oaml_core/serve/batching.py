"""Passes of the model that several requests share: what waits while one pass runs goes into the next together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oaml_core.inference.backends import Feeds
from oaml_core.inference.comparer import Comparer
from oaml_core.inference.records import FaceRecords, Scores

Array = NDArray[Any]
MOST = 16
"""Faces in a shared pass: more gain nothing on a CPU, and the last one waits for all."""
Pass = Callable[[Any, list[Array]], Sequence[Array]]
"""Function from a kind of request and its arrays [n, …] to arrays [n, …]; empty arrays for what is not known."""


class SharedModel:
    """A model whose callers share its passes; answers are those of the model itself.

    Args:
        model: recogniser.
        at_once: passes side by side.
    """

    def __init__(self, model: Comparer, at_once: int) -> None:
        self._model = model
        # Not a method of this object: the two would keep each other, and the model, until the garbage collector runs.
        self._batches = Batches(partial(_run_pass, model), MOST, at_once)

    @property
    def image_size(self) -> int:
        """Side of an aligned face in pixels."""
        return self._model.image_size

    @property
    def local_line(self) -> tuple[float, float]:
        """Scale and shift of the shared model's local score."""
        return self._model.local_line

    def records(self, images: NDArray[np.uint8]) -> FaceRecords:
        """Describe aligned faces [n, S, S, 3]."""
        return FaceRecords(*self._batches.call("records", [images if images.ndim == 4 else images[None]]))

    def infer(self, feeds: Feeds, outputs: Sequence[str]) -> list[Array]:
        """Run the graph itself, of a model that has one."""
        return self._batches.call((tuple(feeds), tuple(outputs)), list(feeds.values()))

    def scores(self, probe: FaceRecords, gallery: FaceRecords) -> Scores:
        """Compare records as the shared model does."""
        return self._model.scores(probe, gallery)

    def threshold(self, far: float, score: str = "global") -> float | None:
        """Return the threshold of a score at a false accept rate; None: not measured."""
        return self._model.threshold(far, score)

    def thresholds(self, score: str = "global") -> dict[float, float]:
        """Return all thresholds of a score by false accept rate."""
        return self._model.thresholds(score)


def _run_pass(model: Comparer, kind: Any, arrays: list[Array]) -> Sequence[Array]:
    if kind == "records":
        return model.records(arrays[0])
    names, outputs = kind
    graph: Any = model
    found: list[Array] = graph.infer(dict(zip(names, arrays, strict=True)), list(outputs))
    return found


class _Call:
    def __init__(self, kind: Hashable, arrays: list[Array]) -> None:
        self.kind, self.arrays = kind, arrays
        self.joins = (kind, tuple((array.shape[1:], array.dtype.str) for array in arrays))
        self.rows = len(arrays[0])
        self.found: list[Array] | None = None
        self.error: BaseException | None = None


class Batches:
    """Runs calls of many threads in few passes. Nobody waits for others to come: a free model starts at once.

    Args:
        run: one pass.
        most: rows of one pass, unless a single call has more.
        at_once: passes side by side.
    """

    def __init__(self, run: Pass, most: int, at_once: int = 1) -> None:
        self._run, self._most, self._free = run, most, at_once
        self._waiting: list[_Call] = []
        self._changed = threading.Condition()
        self.passes = 0
        """Passes so far."""

    def call(self, kind: Hashable, arrays: Sequence[Array]) -> list[Array]:
        """Return what `run` finds for arrays [n, …]; raises what it raises for them alone.

        Args:
            kind: calls of one kind alone share a pass.
            arrays: n rows each.
        """
        call = _Call(kind, list(arrays))
        with self._changed:
            self._waiting.append(call)
            while call.found is None and call.error is None:
                if call in self._waiting and self._free:
                    self._lead()
                else:
                    self._changed.wait()
        if call.error is not None:
            raise call.error
        assert call.found is not None
        return call.found

    def _lead(self) -> None:
        """Run one pass for the first call that waits, and for those that fit to it."""
        first = self._waiting[0]
        chosen, rows = [first], first.rows
        for one in self._waiting[1:]:
            if one.joins == first.joins and rows + one.rows <= self._most:
                chosen.append(one)
                rows += one.rows
        self._waiting = [one for one in self._waiting if one not in chosen]
        self._free -= 1
        self._changed.release()
        try:
            self._answer(chosen)
        finally:
            self._changed.acquire()
            self._free += 1
            self._changed.notify_all()

    def _answer(self, calls: list[_Call]) -> None:
        try:
            arrays = [np.concatenate(parts) for parts in zip(*(one.arrays for one in calls), strict=True)]
            self.passes += 1
            found = list(self._run(calls[0].kind, arrays))
        except BaseException as error:
            if len(calls) > 1:
                # One of them may have spoilt the pass: each is answered alone.
                for one in calls:
                    self._answer([one])
            else:
                calls[0].error = error
            return
        start = 0
        for one in calls:
            rows = slice(start, start + one.rows)
            one.found = [part[rows] if len(part) else part for part in found]
            start += one.rows
