"""Tiny trainings that are disturbed at random moments: is anything lost, done twice, changed or left behind?

    python -m benchmarks.soak [--minutes 60 | --runs 9] [--seed 0] [--kinds worker,…] [--out FILE.json]

One training runs undisturbed. Then training after training of the same data is started with `oaml train` and two
workers, with a folder or an S3 server as the store, and with or without processes that decode. Until it has ended well
it is disturbed again and again, and started again where the disturbance has ended it:

    worker, loader, agent, launcher   one of these processes is killed with SIGKILL
    server                            the process that forks workers is killed with SIGKILL, and they with it
    stop                              the launcher gets SIGTERM
    store                             the S3 server is killed, and is back after some seconds
    disk                              no process can write beyond some size for some seconds
    network                           the line to the store is slow for some seconds, or cut

Kinds, moments and lengths are drawn from the seed. At the end of each training every planned batch must have been
learnt once, checkpoints, plan and losses must equal the undisturbed training's to the bit, and no file, lease or
process may be left. Prints a line per disturbance and per finding; exits with 1 if there are findings. After the
minutes no training is disturbed or begun any more; the last one is let come to its end. Ctrl-C ends the soak at once,
with the figures so far.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.figures import FigureTable, measured, write
from benchmarks.soak_checks import Consumed, Result, entries, findings, planned, repeated, result_of
from benchmarks.soak_disturbances import KILLS, KINDS, REMOTE, Disturbances
from benchmarks.soak_place import Launched, SoakPlace, place
from benchmarks.told import run
from oaml_core.store import open_store

PATIENCE = 600.0
"""Seconds without an end after which a training is taken to hang."""
DISTURBANCES = 6
"""Most of them in one training."""
UNDISTURBED = ("--name", "undisturbed", "--data.num_workers", "0")
BEFELL = ("by peer", "is killed by signal: Killed", "cannot be reached")
"""Words of what a disturbance brings about: of gloo about a connection whose other end has gone, of torch about a
killed process that decodes, of a store that is away."""
AT_ANY_TIME = 0.3
"""Share of the disturbances whose moment is drawn in seconds, and may so lie before training begins."""


class Soak:
    """A campaign.

    Args:
        where: folders, stores and processes.
        kinds: of disturbances.
        seed: what they are drawn from.
        most: disturbances of a training.
        ends: time of the monotonic clock after which nothing is disturbed; None: any time.
    """

    def __init__(self, where: SoakPlace, kinds: Sequence[str], seed: int, most: int, ends: float | None = None) -> None:
        self.place, self.kinds, self.seed, self.most = where, tuple(kinds), seed, most
        self._began, self._ends = time.monotonic(), ends
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.runs = self.repeated_batches = 0
        self.slowest_end = 0.0
        self.plan: Consumed = {}
        self.reference: Result | None = None

    def begin(self) -> None:
        """Train undisturbed, and keep what that left."""
        began = time.monotonic()
        config = self.place.configured("folder", *UNDISTURBED)
        self.plan = planned(config, self.place.datasets["folder"])
        launched = self.place.start("folder", *UNDISTURBED)
        said = launched.end()
        if launched.code() != 0:
            raise SystemExit(f"The undisturbed training failed:\n{said}")
        prefix = self.place.prefix("folder", *UNDISTURBED)
        self.reference = result_of(self.place, open_store(self.place.store("folder")), prefix)
        wrong = findings(self.place, open_store(self.place.store("folder")), prefix, self.plan, self.reference)
        if wrong:
            raise SystemExit(f"The undisturbed training is not as planned: {wrong}")
        print(f"undisturbed: {len(self.plan)} batches, {time.monotonic() - began:.0f} s", flush=True)

    def go_on(self, until: Callable[[], bool]) -> None:
        """Disturb one training after another until the condition holds after one has ended."""
        while not until():
            self.runs += 1
            DisturbedRun(self, self.runs).to_end()

    @property
    def is_over(self) -> bool:
        """True if its time has passed."""
        return self._ends is not None and time.monotonic() > self._ends

    @property
    def kills(self) -> int:
        """Processes that were killed so far."""
        return sum(self.done[kind] for kind in KILLS)

    def report(self) -> dict[str, Any]:
        """Return figures for the table."""
        minutes = (time.monotonic() - self._began) / 60
        return {
            "seed": self.seed,
            "minutes": round(minutes, 1),
            "runs": self.runs,
            "kills": self.kills,
            "kills per hour": round(60 * self.kills / minutes, 1) if minutes else 0.0,
            "disturbances": dict(sorted(self.done.items())),
            "batches per run": len(self.plan),
            "batches done again after a loss": self.repeated_batches,
            "slowest end of a killed launcher's processes, s": round(self.slowest_end, 2),
            "findings": self.wrong,
        }


class DisturbedRun:
    """One training with its disturbances, drawn from the seed and its number."""

    def __init__(self, soak: Soak, number: int) -> None:
        self.soak, self.place, self.number = soak, soak.place, number
        self.chance = random.Random(f"{soak.seed} {number}")
        kinds = set(soak.kinds)
        self.store = self.chance.choice(("folder", "s3")) if kinds - {*REMOTE} else "s3"
        self.kinds = [kind for kind in soak.kinds if self.store == "s3" or kind not in REMOTE]
        loaders = 1 if kinds == {"loader"} else self.chance.choice((0, 1))
        self.options = ("--name", f"run-{number:04d}", "--data.num_workers", str(loaders))
        self.prefix = self.place.prefix(self.store, *self.options)
        self.folder = self.place.work / self.prefix
        self.disturbances = Disturbances(soak.place, self.chance, self._step, self._find)

    def to_end(self) -> None:
        """Train to the end in spite of all, and compare."""
        count = self.chance.randint(-(-self.soak.most // 2), self.soak.most)
        launched = self.place.start(self.store, *self.options)
        for _ in range(count):
            launched = self._until_moment(launched)
            if launched.code() == 0 or self.soak.is_over:
                break
            launched = self._disturb(self.chance.choice(self.kinds), launched)
        launched = self._until(lambda: False, launched)
        self._compare(launched)

    def _until_moment(self, launched: Launched) -> Launched:
        if self.chance.random() < AT_ANY_TIME:
            ends = time.monotonic() + self.chance.uniform(0, 15)
            return self._until(lambda: self.soak.is_over or time.monotonic() > ends, launched)
        batches = len(self.soak.plan)
        step = self.chance.randint(min(self._step() + 1, batches), batches)
        launched = self._until(lambda: self.soak.is_over or self._step() >= step, launched)
        time.sleep(self.chance.uniform(0, 0.3))
        return launched

    def _until(self, condition: Callable[[], bool], launched: Launched) -> Launched:
        """Wait until a condition holds or training has ended well; start it again where a disturbance has ended it."""
        deadline = time.monotonic() + PATIENCE
        while not condition() and (code := launched.code()) != 0:  # asked once: it may end between two questions
            if time.monotonic() > deadline:
                self._find(f"hangs: {''.join(launched.said[-5:])}")
                launched.process.kill()
                return launched
            if code is not None:
                said = launched.end()
                # Workers tell of peers that were killed: before they start again, and where the launcher is killed too.
                last = said.rpartition("Root Cause")[2].rpartition("resumes from")[2]
                # On a full disk PyTorch's own code aborts with a trace, and the launcher names the cause last; a worker
                # tells what befell it, also where a stop comes before it is started again.
                told = "takes no more" in last.rpartition("oaml: ")[2] or any(words in last for words in BEFELL)
                failed = code != -signal.SIGKILL and "Traceback" in last and not told
                if failed or not self.disturbances.ended_by_us:
                    shown = last[last.find("Traceback") :][:3000] if failed else said[-1500:]
                    self._find(f"ended with {code}: …{shown}")
                self.disturbances.ended_by_us = False
                launched = self.place.start(self.store, *self.options)
            time.sleep(0.05)
        return launched

    def _step(self) -> int:
        """Return how many batches were done so far."""
        done = {(entry["epoch"], entry["batch"]) for rank, entry in self._entries() if rank == 0}
        return len(done)

    def _entries(self) -> list[tuple[int, dict[str, Any]]]:
        with suppress(ValueError):  # a line that is being written
            return entries(self.folder)
        return []

    def _disturb(self, kind: str, launched: Launched) -> Launched:
        """Disturb the training in one way, and start it again where that ends it for certain."""
        step, began = self._step(), time.monotonic()
        said = self.disturbances.disturb(kind, launched)
        if said is None:
            return launched
        self.soak.done[kind] += 1
        self.soak.slowest_end = max(self.soak.slowest_end, self.disturbances.slowest_end)
        seconds = time.monotonic() - began
        print(f"run {self.number} ({self.store}), batch {step}: {kind} {said}, {seconds:.1f} s", flush=True)
        return launched

    def _find(self, text: str) -> None:
        self.soak.wrong.append(f"run {self.number} ({self.store}): {text}")
        print(f"FINDING: {self.soak.wrong[-1]}", flush=True)

    def _compare(self, launched: Launched) -> None:
        assert self.soak.reference is not None
        launched.end()
        if launched.code() != 0:
            return
        store = open_store(self.place.store(self.store))
        wrong = findings(self.place, store, self.prefix, self.soak.plan, self.soak.reference)
        self.soak.repeated_batches += repeated(self.folder)
        for text in wrong:
            self._find(text)
        print(f"run {self.number} ({self.store}): {'as undisturbed' if not wrong else 'DIFFERS'}", flush=True)
        if not wrong:
            shutil.rmtree(self.folder)
            for info in list(store.list(f"{self.prefix}/")):
                store.delete(info.key)


def _figures(report: dict[str, Any], options: argparse.Namespace) -> FigureTable:
    """Return a report as a table, with the command that makes one like it."""
    rows = [[name, value] for name, value in report.items() if isinstance(value, int | float) and name != "seed"]
    rows += [[f"disturbances: {kind}", times] for kind, times in report["disturbances"].items()]
    rows.append(["findings", len(report["findings"])])
    command = "python -m benchmarks.soak "
    command += f"--runs {options.runs}" if options.runs else f"--minutes {options.minutes:g}"
    command += f" --seed {options.seed}"
    command += f" --kinds {options.kinds}" if options.kinds != ",".join(KINDS) else ""
    command += f" --disturbances {options.disturbances}" if options.disturbances != DISTURBANCES else ""
    return measured(command, ("what", "figure"), rows, ("torch", "lightning"))


def main() -> None:
    """Disturb trainings for some minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--runs", type=int, help="trainings after which it ends, however long they take")
    parser.add_argument("--disturbances", type=int, default=DISTURBANCES, help="of a training at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma between them")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    if unknown := set(kinds) - {*KINDS}:
        parser.error(f"unknown kinds {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    ends = None if options.runs else time.monotonic() + 60 * options.minutes
    root = Path(tempfile.mkdtemp(prefix="oaml-soak-"))
    with place(root) as where:
        soak = Soak(where, kinds, options.seed, options.disturbances, ends)
        try:
            soak.begin()
            soak.go_on(lambda: soak.runs >= options.runs if options.runs else soak.is_over)
        except KeyboardInterrupt:
            print("interrupted: the figures are those so far", file=sys.stderr)
    report = soak.report()
    if options.out:
        write(_figures(report, options), options.out)
    print(json.dumps(report, indent=2))
    if soak.wrong:
        print(f"kept for a look: {root}", file=sys.stderr)
        sys.exit(1)
    shutil.rmtree(root)


if __name__ == "__main__":
    run(main)
