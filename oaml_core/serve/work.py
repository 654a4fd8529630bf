"""Requests that are worked on in threads: no more than there may be, and none that changes something unheard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from starlette.exceptions import HTTPException

from oaml_core.serve.limits import Limits, ServiceFigures

T = TypeVar("T")


class Turn:
    """State of a request's changes: open, made or withdrawn, never both made and withdrawn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._withdrawn = self._made = False

    def commit(self) -> bool:
        """Return True if changes may be made; from then on they cannot be withdrawn."""
        with self._lock:
            self._made = self._made or not self._withdrawn
            return self._made

    def withdraw(self) -> bool:
        """Return True if nothing was changed; from then on nothing will be."""
        with self._lock:
            self._withdrawn = self._withdrawn or not self._made
            return self._withdrawn


class Work:
    """A pool of threads that never has more to do than it may.

    Args:
        limits: of the service.
        figures: where the load is shown.
    """

    def __init__(self, limits: Limits, figures: ServiceFigures) -> None:
        self._limits, self._figures = limits, figures
        self._pool = ThreadPoolExecutor(limits.workers, thread_name_prefix="faces")
        self._pending = 0

    async def do(self, task: Callable[[], T]) -> T:
        """Run a task that changes nothing in a thread.

        Raises:
            HTTPException: 503, too much is waiting; 504, it took too long (it ends in its thread, unheard).
        """
        return await self.change(lambda _: task())

    async def change(self, task: Callable[[Turn], T]) -> T:
        """Run a task in a thread; it asks its turn before it changes anything.

        Raises:
            HTTPException: 503, too much is waiting; 504, it took too long, and has changed and will change nothing.
        """
        if self._pending >= self._limits.workers + self._limits.waiting:
            raise HTTPException(503, "Too many requests are waiting. Try again in a moment.", {"retry-after": "1"})
        self._pending += 1
        self._figures.busy.set(self._pending)
        loop, turn = asyncio.get_running_loop(), Turn()
        future = self._pool.submit(task, turn)
        future.add_done_callback(lambda done: loop.call_soon_threadsafe(self._ended, done))
        waiting = asyncio.wrap_future(future)
        await asyncio.wait([waiting], timeout=self._limits.seconds)
        # What is being committed cannot be called back: its end is waited for, and told.
        if waiting.done() or not turn.withdraw():
            return await waiting
        waiting.cancel()
        seconds = self._limits.seconds
        raise HTTPException(
            504, f"No answer within {seconds:g} seconds; nothing was changed. Send a smaller photograph, or try later."
        )

    @property
    def pending(self) -> int:
        """Requests that are worked on or wait."""
        return self._pending

    def close(self) -> None:
        """Wait for what is under way, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _ended(self, done: Future[T]) -> None:
        self._pending -= 1
        self._figures.busy.set(self._pending)
        if not done.cancelled():
            done.exception()  # told already, or nobody waits for it
