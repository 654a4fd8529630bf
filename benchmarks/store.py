"""The store beside the bare MinIO client and `rclone copy`, on one server, in one run.

    python -m benchmarks.store throughput [--mib 1024] [--out FILE.json]
    python -m benchmarks.store breakdown [--mib 1024] [--out FILE.json]
    python -m benchmarks.store killed [--mib 1024] [--out FILE.json]

`throughput` moves the same mixed objects up and down with each, in turns, and gives the best of three, and the least
processor time that mover and server took: where all share few cores, that decides. `breakdown` says what receiving,
writing and hashing cost of it, in one thread. `killed` moves the objects while the server is killed with SIGKILL in the
middle and started again, and says what had to be sent twice. The server is `rclone serve s3` on loopback, over a folder
of /dev/shm if there is one, so that the disk plays no part.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlparse

import numpy as np
import psutil

from benchmarks.figures import Sheet
from oaml_core.embedded_s3 import embedded_s3, rclone_program
from oaml_core.store import Store, open_store
from oaml_core.store.s3 import FORGETFUL
from oaml_core.store.s3_client import connect
from oaml_core.store.s3_parts import CHUNK_BYTES

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "store"))
from relay import relay

BUCKET = "bench"
REPEATS = 3
SHARES = ((256, 0.5), (32, 0.25), (2, 0.2), (0.0625, 0.05))
"""Sizes in MiB, and the share of all bytes in objects of that size."""


def make_objects(folder: Path, mib: int) -> int:
    """Write the mixed objects; gives their bytes."""
    generator = np.random.default_rng(0)
    total = 0
    for size, share in SHARES:
        size = min(size, mib / 4)
        for number in range(max(1, round(mib * share / size))):
            path = folder / f"{size}" / f"{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(generator.bytes(int(size * 2**20)))
            total += path.stat().st_size
    return total


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def with_store(source: Path, prefix: str, back: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    store = open_store(f"s3://{BUCKET}")
    return lambda: store.put_tree(source, prefix), lambda: store.get_tree(prefix, back)


def with_client(source: Path, prefix: str, back: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """The bare client in as many threads as the store has."""
    client = connect()
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())

    def up() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: client.fput_object(BUCKET, f"{prefix}/{name}", str(source / name)), names))

    def down() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: client.fget_object(BUCKET, f"{prefix}/{name}", str(back / name)), names))

    return up, down


def with_rclone(source: Path, prefix: str, back: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """`rclone copy` with its defaults, but 8 transfers."""
    variables = {
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENDPOINT": os.environ["OAML_S3_ENDPOINT"],
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
    }

    def copy(one: str, other: str) -> None:
        command = [rclone_program(), "copy", "--transfers", "8", "--quiet", one, other]
        subprocess.run(command, check=True, env=os.environ | variables)

    remote = f"bench:{BUCKET}/{prefix}"
    return lambda: copy(str(source), remote), lambda: copy(remote, str(back))


MOVERS = {"store": with_store, "MinIO client": with_client, "rclone copy": with_rclone}


class ServerTimes(NamedTuple):
    """Seconds that some work took: on the clock, of this process and those it ran, and of the server."""

    wall: float
    own: float
    served: float


def cost(work: Callable[[], object], server: psutil.Process) -> ServerTimes:
    started = time.perf_counter(), sum(os.times()[:4]), sum(server.cpu_times()[:2])
    work()
    ended = time.perf_counter(), sum(os.times()[:4]), sum(server.cpu_times()[:2])
    return ServerTimes(*(end - start for start, end in zip(started, ended, strict=True)))


def least(costs: Iterable[ServerTimes]) -> ServerTimes:
    return ServerTimes(*map(min, zip(*costs, strict=True)))


def server_process() -> psutil.Process:
    """The newest rclone that this process has started."""
    children = (child for child in psutil.Process().children() if child.name().startswith("rclone"))
    return max(children, key=lambda child: child.create_time())


def throughput(folder: Path, mib: int, sheet: Sheet) -> None:
    total = make_objects(folder / "source", mib)
    expected = digests(folder / "source")
    costs: dict[tuple[str, str], list[ServerTimes]] = defaultdict(list)
    with embedded_s3(folder / "s3") as variables:
        os.environ.update(variables)
        os.environ.pop(FORGETFUL)  # as on servers that keep metadata, which all others do
        server, client = server_process(), connect()
        client.make_bucket(BUCKET)
        for number in range(REPEATS):
            for name, mover in sorted(MOVERS.items(), reverse=bool(number % 2)):  # whoever is first has no advantage
                prefix, back = f"{number}-{name.replace(' ', '-')}", folder / "back"
                up, down = mover(folder / "source", prefix, back)
                costs["up", name].append(cost(up, server))
                list(client.list_objects(BUCKET, f"{prefix}/", recursive=True))  # this server makes ETags when asked
                costs["down", name].append(cost(down, server))
                if digests(back) != expected:
                    raise SystemExit(f"{name}: what came back is not what went")
                shutil.rmtree(back)
                shutil.rmtree(folder / "s3" / BUCKET / prefix)
    sheet.say("moved, best of each", f"{total / 2**20:.0f} MiB in {len(expected)} objects, {REPEATS} times")
    sheet.say("load of the machine", f"{os.getloadavg()[0]:.0f}")
    for direction in ("up", "down"):
        best = {name: least(costs[direction, name]) for name in MOVERS}
        for name, taken in best.items():
            own, served = (1e9 * each / total for each in taken[1:])
            speed = total / taken.wall / 1e6
            sheet.say(f"{direction}: {name}", f"{speed:.0f} MB/s; processor s/GB: {own:.2f} own, {served:.2f} server")
        fastest_other = min(taken.wall for name, taken in best.items() if name != "store")
        sheet.say(f"{direction}: store / faster of the others", f"{fastest_other / best['store'].wall:.2f} ×")


def breakdown(folder: Path, mib: int, sheet: Sheet) -> None:
    """Processor time of receiving an object, of writing it too, and of hashing it too, as the store does all three."""
    with embedded_s3(folder / "s3") as variables:
        os.environ.update(variables)
        server, client, size = server_process(), connect(), mib * 2**18
        client.make_bucket(BUCKET)
        client.put_object(BUCKET, "object", io.BytesIO(os.urandom(size)), size)

        def receive(writes: bool, hashes: bool) -> None:
            digest, response = hashlib.sha256(), client.get_object(BUCKET, "object")
            with (folder / "back").open("wb") as file:
                for chunk in response.stream(CHUNK_BYTES):
                    if hashes:
                        digest.update(chunk)
                    if writes:
                        file.write(chunk)
            response.release_conn()

        steps = {"receive": (False, False), "receive, write": (True, False), "receive, write, hash": (True, True)}
        costs: dict[str, list[ServerTimes]] = defaultdict(list)
        for _ in range(2 * REPEATS):
            for name, step in steps.items():
                costs[name].append(cost(lambda step=step: receive(*step), server))  # type: ignore[misc]
    for name, taken in ((name, least(each)) for name, each in costs.items()):
        own, served = 1e9 * taken.own / size, 1e9 * taken.served / size
        sheet.say(f"one object, one thread: {name}", f"{own:.2f} s/GB own, {served:.2f} s/GB server")


def killed(folder: Path, mib: int, sheet: Sheet) -> None:
    total = make_objects(folder / "source", mib)
    expected = digests(folder / "source")
    sent, _ = _interrupted(folder, total, "sent", lambda store: store.put_tree(folder / "source", "tree"))
    _, got = _interrupted(folder, total, "received", lambda store: store.get_tree("tree", folder / "back"))
    same = digests(folder / "back") == expected
    with embedded_s3(folder / "s3") as variables:
        os.environ.update(variables)
        store = open_store(f"s3://{BUCKET}")
        damaged = sum(store.is_intact(info.key) is not True for info in store.list("tree/"))
        path = next((folder / "s3" / BUCKET / "tree").rglob("*.bin"))
        flip(path)
        noticed = store.is_intact(path.relative_to(folder / "s3" / BUCKET).as_posix()) is False
    sheet.say("the server killed halfway, once each way", f"{total / 2**20:.0f} MiB in {len(expected)} objects")
    sheet.say("up: sent twice", f"{sent / total - 1:.1%}")
    sheet.say("down: fetched twice", f"{got / total - 1:.1%}")
    sheet.say("lost or changed", "nothing" if same else "SOMETHING")
    sheet.say("damaged in the store", str(damaged))
    sheet.say("a bit flipped in the store", "noticed" if noticed else "NOT NOTICED")


def _interrupted(folder: Path, total: int, direction: str, work: Callable[[Store], object]) -> tuple[int, int]:
    """Do `work` on a server that is killed when half of `total` bytes have passed; bytes sent and received in all."""
    with embedded_s3(folder / "s3") as variables:
        port = urlparse(variables["OAML_S3_ENDPOINT"]).port or 0
        server = server_process()
        with relay(port) as wire:
            os.environ.update(variables | {"OAML_S3_ENDPOINT": f"http://127.0.0.1:{wire.port}"})
            store = open_store(f"s3://{BUCKET}")
            store.write_bytes("first", b"1")
            worker = threading.Thread(target=work, args=(store,))
            worker.start()
            while worker.is_alive() and getattr(wire, direction) < total / 2:
                time.sleep(0.002)
            server.kill()
            server.wait()
            time.sleep(1)
            with embedded_s3(folder / "s3", port, (variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"])):
                worker.join()
            return wire.sent, wire.received


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))


WHAT = {"throughput": throughput, "breakdown": breakdown, "killed": killed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(WHAT))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--out", type=Path, help="JSON file of the table")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    room = memory.is_dir() and shutil.disk_usage(memory).free > 6 * options.mib * 2**20
    with tempfile.TemporaryDirectory(dir=memory if room else None) as folder:
        print(f"in {Path(folder).parent}")
        sheet = Sheet()
        WHAT[options.what](Path(folder), options.mib, sheet)
    sheet.save("benchmarks.store", sys.argv[1:], ["minio", "numpy"], options.out)


if __name__ == "__main__":
    main()
