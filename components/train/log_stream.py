"""Passes a pod's log on, line by line, over connections that break."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event, Thread

from components.train.client import ClusterClient
from components.train.redaction import redacted

log = logging.getLogger(__name__)

STAMPED = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)) ?(?P<line>.*)", re.DOTALL)
WAIT_SECONDS = 1.0
"""Before a log that ended, or broke off, is asked for again."""


class LogStream:
    """The log of one container, from its first line to its last.

    Args:
        pod: name of the pod.
        write: takes each line.
        still_running: whether the container may write more.
    """

    def __init__(
        self, client: ClusterClient, pod: str, write: Callable[[str], None], still_running: Callable[[], bool]
    ) -> None:
        self._client, self._pod, self._write, self._still_running = client, pod, write, still_running
        self._newest: str | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, name=f"log of {pod}", daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait for the last line, at most `seconds`, and stop."""
        self._thread.join(seconds)
        self._stop.set()

    def _run(self) -> None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        while not self._stop.is_set():
            running = self._still_running()
            try:
                self._pass_on()
                if not running:  # it had ended before the log did: that was all
                    return
            except ApiException as error:
                not_there_yet = running and error.status in (400, 404)
                if not not_there_yet and error.status not in (429, 500, 502, 503, 504):
                    log.info("the log of %s cannot be read: %s %s", self._pod, error.status, error.reason)
                    return
            except HTTPError as error:
                log.debug("the log of %s broke off: %s", self._pod, error)
            self._stop.wait(WAIT_SECONDS)

    def _pass_on(self) -> None:
        """Lines that have not been seen. The server takes whole seconds: what comes twice is told by its time, which
        the kubelet writes with nine decimals, so that texts compare as times do.
        """
        seen = self._newest or ""
        for stamped in self._client.log_stream(self._pod, self._seconds_since_newest()):
            if not (found := STAMPED.match(stamped)):
                self._write(redacted(stamped))
                continue
            if found["time"] > seen:
                self._newest = found["time"]
                self._write(redacted(found["line"]))

    def _seconds_since_newest(self) -> int | None:
        if self._newest is None:
            return None
        then = datetime.fromisoformat(_microseconds(self._newest))
        return max(1, int((datetime.now(UTC) - then).total_seconds()) + 2)


def _microseconds(stamp: str) -> str:
    """`stamp`, whose nanoseconds Python cannot read, cut to microseconds."""
    return re.sub(r"(\.\d{6})\d+", r"\1", stamp)
