"""Fuzz all parsers for minutes: `python -m fuzzing.campaign --minutes 10` (`make fuzz`).

Each parser runs in a process of its own, whose memory and time the kernel bounds, so that a crash of a library or an
endless loop is a finding, too. What breaks a bound is kept with its traceback.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MOST_MEMORY = 6 * 2**30
"""Address space of a process in bytes; libraries reserve some gigabytes that they never use."""
QUICK = Path("/dev/shm")
"""Files in memory, where the system has such."""
PATIENCE = 30.0
"""Seconds without an answer after which a process is ended."""


def one_parser(name: str, seed: int, seconds: float, folder: str, answers: Connection) -> None:
    """Read damaged files of one parser for some seconds; tells each example before it is read, and each finding."""
    from fuzzing.bounds import BrokenBound, read_within_bounds
    from fuzzing.damage import Edit, damaged
    from fuzzing.parsers import PARSERS
    from fuzzing.places import write_files

    logging.disable()  # every damaged file is told there
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries of C write there, too
    parser, chance, place = PARSERS[name], random.Random(f"{name} {seed}"), Path(folder) / "files"
    files = parser.files()
    write_files(files, place)

    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    count, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        target = chance.choice(parser.targets)
        edits = [
            Edit(chance.randrange(256), chance.randrange(65536), int(2 ** chance.uniform(0, 9)), chance.randrange(1000))
            for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 6)))
        ]
        content = damaged(files[target], edits, list(files.values()))
        shutil.rmtree(place, ignore_errors=True)
        write_files(files | {target: content}, place)
        (Path(folder) / "now").write_bytes(json.dumps(target).encode() + b"\n" + content)
        try:
            read_within_bounds(lambda at, target=target: parser.read(at, target), place)
        except BrokenBound:
            answers.send(("finding", (traceback.format_exc(), target, content)))
        count += 1
        answers.send(("count", count))
    answers.send(("end", count))


def watch(name: str, seed: int, seconds: float, out: Path) -> tuple[int, dict[str, str]]:
    """Run one parser's process; return how many files it read, and its findings by what happened."""
    found: dict[str, str] = {}
    count = 0
    with tempfile.TemporaryDirectory(dir=QUICK if QUICK.is_dir() else None) as folder:
        context = multiprocessing.get_context("fork")
        mine, theirs = context.Pipe(duplex=False)
        process = context.Process(target=one_parser, args=(name, seed, seconds, folder, theirs))
        process.start()
        theirs.close()
        while True:
            if not mine.poll(PATIENCE):
                process.kill()
                process.join()
                _note(found, f"no answer within {PATIENCE:.0f} s", name, *_last_file(Path(folder)), out)
                break
            try:
                kind, said = mine.recv()
            except EOFError:
                process.join()
                _note(found, f"the process ended with {process.exitcode}", name, *_last_file(Path(folder)), out)
                break
            if kind == "finding":
                _note(found, said[0], name, *said[1:], out)
            else:
                count = said
            if kind == "end":
                break
        process.join()
    return count, found


def _last_file(folder: Path) -> tuple[str, bytes]:
    """Return name and content of the file that a process which is gone read last."""
    target, _, content = (folder / "now").read_bytes().partition(b"\n")
    return str(json.loads(target)), content


def _note(found: dict[str, str], what: str, name: str, target: str, content: bytes, out: Path) -> None:
    lines = [line.strip() for line in what.splitlines() if line.strip()]
    places = [line for line in lines if line.startswith("File") and "/oaml_core/" in line]
    key = f"{lines[-1].partition('error for users')[0]} {places[-1:]}"[:300]
    if key in found:
        return
    found[key] = what
    stem = f"{name.replace(' ', '-')}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{stem}.txt").write_text(what)
    (out / f"{stem}{Path(target).suffix}").write_bytes(content)
    print(f"  {name}: {lines[-1][:200]} → {out / stem}.txt", flush=True)


def main() -> int:
    """Fuzz all parsers in turn, and return 1 if anything was found."""
    from fuzzing.parsers import PARSERS

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0, help="in all")
    options.add_argument("--seed", type=int, default=None, help="of the damage; by default another one every time")
    options.add_argument("--only", nargs="+", default=list(PARSERS), help="names of parsers")
    options.add_argument("--out", type=Path, default=Path(".fuzz"), help="folder for what was found")
    chosen = options.parse_args()
    seed = int.from_bytes(os.urandom(4), "little") if chosen.seed is None else chosen.seed
    each = chosen.minutes * 60 / len(chosen.only)
    print(f"seed {seed}, {each:.0f} s for each of {len(chosen.only)} parsers", flush=True)
    findings: dict[str, Any] = {}
    total = 0
    for name in chosen.only:
        count, found = watch(name, seed, each, chosen.out)
        total += count
        findings |= {f"{name}: {key}": text for key, text in found.items()}
        print(f"{name}: {count:,} files, {len(found)} findings", flush=True)
    print(f"{total:,} damaged files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
