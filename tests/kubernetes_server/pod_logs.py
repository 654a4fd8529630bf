"""Logs of containers that tests write to, in the form in which a kubelet serves them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

Key = tuple[str, str]
"""Pod and container."""


class PodLogs:
    """Lines by pod and container, each with its time; readers that follow wait for more until the log ends."""

    def __init__(self) -> None:
        self._lines: dict[Key, list[tuple[datetime, str]]] = {}
        self._ended: set[Key] = set()
        self._changed = threading.Condition()
        self._generation = 0

    def write(self, pod: str, container: str, *lines: str) -> None:
        with self._changed:
            known = self._lines.setdefault((pod, container), [])
            known.extend((datetime.now(UTC), line) for line in lines)
            self._changed.notify_all()

    def forget(self, pod: str, container: str) -> None:
        """Begin anew, as for a new pod of the same name."""
        with self._changed:
            self._lines.pop((pod, container), None)
            self._ended.discard((pod, container))

    def end(self, pod: str, container: str) -> None:
        with self._changed:
            self._lines.setdefault((pod, container), [])
            self._ended.add((pod, container))
            self._changed.notify_all()

    def break_off(self) -> None:
        """Break the connections of all readers that follow."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def exists(self, pod: str, container: str) -> bool:
        return (pod, container) in self._lines

    def read(self, pod: str, container: str, query: dict[str, str]) -> Iterator[str]:
        """The lines that `query` (follow, tailLines, sinceSeconds, timestamps) asks for, with line ends.

        Raises:
            ConnectionAbortedError: `break_off` was called.
        """
        key, stamped = (pod, container), query.get("timestamps") == "true"
        generation = self._generation
        with self._changed:
            lines = list(self._lines.get(key, []))
        done = len(lines)
        if "sinceSeconds" in query:
            now = datetime.now(UTC)
            lines = [line for line in lines if (now - line[0]).total_seconds() <= int(query["sinceSeconds"])]
        if "tailLines" in query:
            lines = lines[-int(query["tailLines"]) :]
        yield from (_shown(line, stamped) for line in lines)
        while query.get("follow") == "true":
            with self._changed:
                self._changed.wait_for(
                    lambda seen=done: (
                        len(self._lines.get(key, [])) > seen or key in self._ended or generation != self._generation
                    ),
                    timeout=30,
                )
                if generation != self._generation:
                    raise ConnectionAbortedError
                fresh = self._lines.get(key, [])[done:]
                ended = key in self._ended
            done += len(fresh)
            yield from (_shown(line, stamped) for line in fresh)
            if ended and not fresh:
                return


def _shown(line: tuple[datetime, str], stamped: bool) -> str:
    stamp = line[0].strftime("%Y-%m-%dT%H:%M:%S.%f000Z ") if stamped else ""
    return f"{stamp}{line[1]}\n"
