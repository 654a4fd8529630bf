"""Load, soak and kills of the service, on loopback: `python -m benchmarks.serving load --onnx model.onnx`.

`load` asks `/v2/models/oaml/infer` for one face per request: first a stubbed model, then the exported one. Requests
leave at fixed times whether or not earlier ones were answered, and times count from the planned moment, so that a
service that falls behind cannot hide it. `soak` asks at a share of the model's own rate for `--minutes`, while the
model's file is replaced and people are enrolled and deleted. `kills` ends a process by SIGKILL in the middle of
enrolling, deleting and rebuilding, and compares the gallery with what was acknowledged. Each prints a row and writes
it to `--out`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_client import KEY, Connection, infer_request, offer
from benchmarks.serving_kills import kill_many
from benchmarks.told import run
from oaml_core.inference.onnx_model import OamlOnnx
from oaml_core.serve.keys import key_digest

WARM = 20


@contextmanager
def service(*words: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Start a service on a free port; ended by SIGTERM, which must leave no request without an answer."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys"
        keys.write_text(f"admin {key_digest(KEY)}\n")
        command = [sys.executable, "-m", *words, "--port", "0", "--key_file", str(keys), "--per_minute", "10000000"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            assert process.stdout is not None
            address = next(line for line in process.stdout if line.startswith("http"))
            port = int(address.rsplit(":", 1)[1].split("/")[0])
            asyncio.run(_ready(port))
            yield port, process
        finally:
            process.terminate()
            process.wait()


async def _ready(port: int) -> None:
    while True:
        connection = Connection(port)
        try:
            if (await connection.ask("GET", "/health/ready", b"", "text/plain"))[0] == 200:
                return
        except (OSError, EOFError):
            pass
        finally:
            connection.close()
        await asyncio.sleep(0.1)


def own_rate(model: OamlOnnx, face: np.ndarray, seconds: float = 3.0) -> float:
    """Faces per second of the model alone, one at a time, in this process."""
    feeds = {model.input_tensors[0].name: face[None]}
    for _ in range(WARM):
        model.infer(feeds, ["embedding"])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        model.infer(feeds, ["embedding"])
        count += 1
    return count / (time.perf_counter() - start)


def load(options: argparse.Namespace, face: np.ndarray) -> list[dict[str, Any]]:
    """Measure the stub at `--rate`, and the model at nine tenths and at half of its own rate."""
    request, rows = infer_request(face), []

    def measured(name: str, port: int, rate: float) -> None:
        asyncio.run(offer(port, rate, min(3, options.seconds), request))
        told = asyncio.run(offer(port, rate, options.seconds, request))
        rows.append({"model": name, "per second": rate, **told.row()})

    with service("benchmarks.serving_stub") as (port, _):
        measured("stub", port, options.rate)
        measured("stub", port, options.rate / 2)
    if options.onnx:
        own = own_rate(OamlOnnx(options.onnx, threads=options.threads), face)
        rows.append({"model": "alone, in one process", "per second": own})
        words = ("oaml_core.cli", "serve", "--onnx", options.onnx, "--aligned", f"--threads={options.threads}")
        with service(*words, f"--workers={options.workers}") as (port, _):
            measured("exported", port, 0.9 * own)
            measured("exported", port, 0.5 * own)
    return rows


def soak(options: argparse.Namespace, face: np.ndarray) -> list[dict[str, Any]]:
    """Ask at seven tenths of the model's own rate, or `--rate`, while models and people come and go."""
    with tempfile.TemporaryDirectory() as folder:
        served = Path(folder) / "model.onnx"
        for path in (options.onnx, options.other):
            assert path, "soak takes --onnx and --other, two exported models that replace each other"
        shutil.copy(options.onnx, served)
        rate = 0.7 * own_rate(OamlOnnx(options.onnx, threads=options.threads), face)
        words = ["oaml_core.cli", "serve", "--onnx", str(served), "--aligned", "--look_every=1", "--try_share=0"]
        words += [
            "--gallery",
            f"{folder}/people.gallery",
            f"--threads={options.threads}",
            f"--workers={options.workers}",
        ]
        with service(*words) as (port, process):
            return [asyncio.run(_soaked(options, port, process.pid, served, rate, face))]


async def _soaked(
    options: argparse.Namespace, port: int, pid: int, served: Path, rate: float, face: np.ndarray
) -> dict[str, Any]:
    seconds = 60 * options.minutes
    memory: list[float] = []
    counts = {"reloads": 0, "enrolled and deleted": 0}
    failed: list[str] = []
    over = asyncio.Event()

    async def every(pause: float, task: Callable[[], Awaitable[None]]) -> None:
        while not over.is_set():
            await task()
            try:
                await asyncio.wait_for(over.wait(), pause)
            except TimeoutError:
                continue

    async def note() -> None:
        memory.append(_resident(pid))

    async def reload() -> None:
        counts["reloads"] += 1
        source = options.other if counts["reloads"] % 2 else options.onnx
        partial = served.with_suffix(".partial")
        shutil.copy(source, partial)
        os.replace(partial, served)

    connection, photo = Connection(port), _png(face)

    async def people() -> None:
        boundary = "limit"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="photo"; filename="a.png"\r\n\r\n'
        body = head.encode() + photo + f"\r\n--{boundary}--\r\n".encode()
        kind, api = f"multipart/form-data; boundary={boundary}", "/api/v1/gallery"
        name = f"person{counts['enrolled and deleted']}"
        for method, path, sent in (
            ("POST", f"{api}/faces?person={name}&keep_image=true", body),
            ("DELETE", f"{api}/people?person={name}", b""),
        ):
            status, found = await connection.ask(method, path, sent, kind)
            if status != 200:
                failed.append(f"{status} {found[:200]!r}")
        counts["enrolled and deleted"] += 1

    others = [asyncio.create_task(every(*one)) for one in ((1, note), (options.reload_every, reload), (1, people))]
    told = await offer(port, rate, seconds, infer_request(face))
    over.set()
    await asyncio.gather(*others)
    connection.close()
    told.failed += failed
    # The first third holds caches and arenas that fill.
    settled, end = memory[len(memory) // 3], float(np.mean(memory[-5:]))
    for text in told.failed[:5]:
        print("  failed:", text)
    return {
        "per second": rate,
        "minutes": options.minutes,
        **told.row(),
        **counts,
        "MiB settled": settled,
        "MiB end": end,
        "MiB every 10 s": [round(value) for value in memory[::10]],
    }


def _resident(pid: int) -> float:
    words = Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()
    return int(words[0]) / 1024


def _png(face: np.ndarray) -> bytes:
    from oaml_core.inference.gallery.rebuild import encode_face

    return encode_face(face)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "soak", "kills"])
    parser.add_argument("--onnx", help="exported model.onnx")
    parser.add_argument("--other", help="another one, for soak: the two replace each other")
    parser.add_argument("--rate", type=float, default=200, help="requests per second to the stub")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--reload_every", type=float, default=20, help="seconds between two models in a soak")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file of the rows")
    options = parser.parse_args()
    face = np.random.default_rng(0).integers(0, 256, (112, 112, 3)).astype(np.uint8)
    rows = (
        [kill_many(options.kills)]
        if options.what == "kills"
        else {"load": load, "soak": soak}[options.what](options, face)
    )
    for row in rows:
        print(
            ", ".join(
                f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
            )
        )
    if options.out is not None:
        options.out.write_text(
            json.dumps({"what": options.what, "load average": os.getloadavg(), "rows": rows}, indent=2)
        )


if __name__ == "__main__":
    run(main)
