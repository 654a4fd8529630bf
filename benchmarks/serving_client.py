"""A client that asks at fixed times over a bounded number of kept connections, and what it saw."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KEY = "benchmark"
CONNECTIONS = 32
"""Requests under way at once; more wait in the client, and their waiting counts."""


@dataclass
class Told:
    """Answers and delays as a client saw them."""

    seconds: list[float] = field(default_factory=list)
    """Times from the planned moment of a request to its answer."""
    failed: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Summary for tables; times in milliseconds."""
        some = np.array(self.seconds or [float("nan")]) * 1000
        p50, p99 = np.percentile(some, [50, 99])
        return {"answered": len(self.seconds), "failed": len(self.failed), "p50 ms": p50, "p99 ms": p99}


class Connection:
    """One kept connection, one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: bytes, kind: str, extra: str = "") -> tuple[int, bytes]:
        """Return status and body of an answer."""
        if self._pair is None:
            self._pair = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._pair
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: {kind}\r\n{extra}"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        said = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
        length = int(said.split("\r\ncontent-length:")[1].split("\r\n")[0])
        found = await reader.readexactly(length)
        if "connection: close" in said:
            self.close()
        return int(said.split(" ", 2)[1]), found

    def close(self) -> None:
        """Close it; the next request opens another."""
        if self._pair is not None:
            self._pair[1].close()
        self._pair = None


def infer_request(face: np.ndarray) -> tuple[str, str, bytes, str, str]:
    """Return a request for the embedding of one aligned face, in binary form."""
    asked = {
        "inputs": [
            {
                "name": "images",
                "datatype": "UINT8",
                "shape": [1, *face.shape],
                "parameters": {"binary_data_size": face.nbytes},
            }
        ],
        "outputs": [{"name": "embedding"}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(asked).encode()
    header = f"Inference-Header-Content-Length: {len(text)}\r\n"
    return "POST", "/v2/models/oaml/infer", text + face.tobytes(), "application/octet-stream", header


async def offer(port: int, rate: float, seconds: float, request: tuple[str, str, bytes, str, str]) -> Told:
    """Ask `rate` times per second for some seconds."""
    told, start = Told(), time.perf_counter()
    due = iter(range(round(rate * seconds)))

    async def work() -> None:
        connection = Connection(port)
        for number in due:
            planned = start + number / rate
            await asyncio.sleep(max(0.0, planned - time.perf_counter()))
            try:
                status, body = await connection.ask(*request)
                if status != 200:
                    raise OSError(f"{status} {body[:200]!r}")
                told.seconds.append(time.perf_counter() - planned)
            except (OSError, EOFError) as error:
                told.failed.append(str(error))
                connection.close()
        connection.close()

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return told
