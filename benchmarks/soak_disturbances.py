"""Ways to disturb a training: its processes killed, its store away, its line slow, its disk full."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from benchmarks.soak_place import Launched, SoakPlace

PROCESSES = ("worker", "loader", "agent", "server", "launcher")
REMOTE = ("store", "network")
KINDS = (*PROCESSES, "stop", *REMOTE, "disk")
KILLS = (*PROCESSES, "store")
"""Kinds that end a process with SIGKILL."""
GONE_SECONDS = 3.0
"""Longest time that a killed launcher's processes may live on."""


class Disturbances:
    """The ways to disturb one training.

    Args:
        place: where it happens.
        chance: what moments and lengths are drawn from.
        step: how many batches were done so far.
        find: takes in what should not be.

    Attributes:
        ended_by_us: True since a disturbance that may end the training; reset it when that has ended.
        slowest_end: seconds that a killed launcher's processes lived on, at most.
    """

    def __init__(
        self, place: SoakPlace, chance: random.Random, step: Callable[[], int], find: Callable[[str], None]
    ) -> None:
        self.place, self.chance, self._step, self._find = place, chance, step, find
        self.ended_by_us, self.slowest_end = False, 0.0

    def disturb(self, kind: str, launched: Launched) -> str | None:
        """Disturb the training in a way of `KINDS`; what was done, or None if there was nothing to disturb."""
        said: str | None = getattr(self, f"_{kind}")(launched)
        return said

    def _kill(self, processes: Sequence[psutil.Process]) -> str | None:
        if not processes:
            return None
        chosen = self.chance.choice(processes)
        with suppress(psutil.Error):
            chosen.kill()
            return "killed"
        return None

    def _worker(self, launched: Launched) -> str | None:
        return self._kill(launched.workers())

    def _loader(self, launched: Launched) -> str | None:
        return self._kill(launched.loaders())

    def _agent(self, launched: Launched) -> str | None:
        agent = launched.agent()
        said = self._kill([agent] if agent is not None else [])
        self.ended_by_us |= said is not None
        return said

    def _server(self, launched: Launched) -> str | None:
        server = launched.fork_server()
        return self._kill([server] if server is not None else [])

    def _launcher(self, launched: Launched) -> str | None:
        launched.process.kill()
        launched.process.wait()
        self.ended_by_us = True
        began = time.monotonic()
        while left := self.place.processes():
            if time.monotonic() - began > GONE_SECONDS:
                self._find(
                    f"{GONE_SECONDS:.0f} s after the launcher was killed {[p.cmdline()[:4] for p in left]} lives"
                )
                break
            time.sleep(0.02)
        self.slowest_end = max(self.slowest_end, time.monotonic() - began)
        return "killed"

    def _stop(self, launched: Launched) -> str:
        launched.ask_to_end()
        self.ended_by_us = True
        return "asked to end"

    def _store(self, launched: Launched) -> str:
        self.ended_by_us = True
        away = self.chance.uniform(0.2, 8)
        self.place.kill_server(away)
        return f"server killed, away for {away:.1f} s"

    def _network(self, launched: Launched) -> str:
        seconds, self.ended_by_us = self.chance.uniform(0.5, 8), True
        if self.chance.random() < 0.4:
            self.place.wire.cut_after(self.chance.choice(("sent", "received")), self.chance.randrange(2_000_000))
            time.sleep(seconds)
            self.place.wire.restore()
            return "cut"
        self.place.wire.pace = rate = int(10 ** self.chance.uniform(4, 6))
        time.sleep(seconds)
        self.place.wire.pace = None
        return f"at {rate:,} bytes per second"

    def _disk(self, launched: Launched) -> str:
        self.ended_by_us = True
        most = self.chance.choice((0, 4_096, 500_000))
        self.place.fill_disk(self.chance.uniform(0.5, 6), most)
        step, ends = self._step(), time.monotonic() + 60
        while launched.code() is None and self._step() == step and time.monotonic() < ends:
            time.sleep(0.05)  # until lines that waited for the disk are written
        return f"full beyond {most:,} bytes per file"
