"""The pods of a training job as they come and go: what is wrong with them, and what they last said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from components.train.backend import Json
from components.train.client import ClusterClient
from components.train.log_stream import LogStream
from components.train.redaction import redacted
from components.train.troubles import Trouble, troubles
from components.train.watch import ObjectChange
from oaml_core.errors import ClusterError

log = logging.getLogger(__name__)

LAST_LINES = 30
"""Lines of a failed worker's log that are shown."""
LOG_END_SECONDS = 10.0
"""Longest wait for the last lines of a log, once the job has ended."""


GIVEN = ("PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC")
"""Reasons why the cluster takes a healthy pod away, which are no failures of the pod."""


class GivenUp(ClusterError):
    """A job that the launcher ends, because nothing good is to be expected of it."""


class CannotStart(GivenUp):
    """A worker's pod that will not start until somebody mends the cluster or its configuration."""


@dataclass(frozen=True)
class Failure:
    """A worker that failed, and its last words."""

    trouble: Trouble
    last_lines: tuple[str, ...]


class Workers:
    """The pods of one job.

    Args:
        patience: seconds that a pod which cannot start is given.
        write: takes the lines of the main worker's log.
    """

    def __init__(self, client: ClusterClient, patience: float, write: Callable[[str], None]) -> None:
        self._client, self._patience, self._write = client, patience, write
        self._pods: dict[str, Json] = {}
        self._said: set[str] = set()
        self._waiting_since: dict[str, tuple[float, Trouble]] = {}
        self._streams: dict[tuple[str, int], LogStream] = {}
        self._running = 0
        self._failed: set[tuple[str, int]] = set()
        self.failures: list[Failure] = []
        """Workers that failed so far, in order."""

    def take(self, change: ObjectChange) -> None:
        """Note what has become of a pod."""
        pod, uid = change.object, change.object["metadata"]["uid"]
        if change.deleted:
            self._pods.pop(uid, None)
            self._waiting_since.pop(uid, None)
            return
        self._pods[uid] = pod
        self._stream(pod)
        if _has_failed(pod, self._client.backend.container):
            self._failed.add((uid, _restarts(pod, self._client.backend.container)))
        found = list(troubles(pod, self._client.backend.container))
        for trouble in found:
            self._note(pod, trouble)
        waits = next((trouble for trouble in found if trouble.waits), None)
        if waits is None:
            self._waiting_since.pop(uid, None)
        else:
            self._waiting_since.setdefault(uid, (time.monotonic(), waits))
        self._count()

    @property
    def count(self) -> int:
        """Pods that are there and have not failed: a TrainJob keeps those that have, beside the ones that follow."""
        return sum(pod.get("status", {}).get("phase") != "Failed" for pod in self._pods.values())

    @property
    def failed(self) -> int:
        """Times that a worker's pod has failed; those that were taken away or deleted while they ran do not count."""
        return len(self._failed)

    def refuse_hopeless(self) -> None:
        """Do nothing, unless a pod waits in vain, or has waited too long.

        Raises:
            CannotStart: says what for.
        """
        now = time.monotonic()
        for since, trouble in self._waiting_since.values():
            if trouble.hopeless or now - since > self._patience:
                raise CannotStart(f"{trouble} The job is cancelled; the same run can be repeated.")

    def finish_logs(self) -> None:
        """Wait for the logs' last lines."""
        deadline = time.monotonic() + LOG_END_SECONDS
        for stream in self._streams.values():
            stream.finish(max(0.1, deadline - time.monotonic()))

    def _note(self, pod: Json, trouble: Trouble) -> None:
        key = f"{pod['metadata']['uid']} {_restarts(pod, self._client.backend.container)} {trouble.text}"
        if key in self._said:
            return
        self._said.add(key)
        log.warning("train: %s", trouble)
        status = _container(pod, self._client.backend.container)
        ended = "terminated" in (status.get("state") or {})
        if ended or "terminated" in (status.get("lastState") or {}) or pod.get("status", {}).get("phase") == "Failed":
            self.failures.append(Failure(trouble, self._last_lines(trouble.pod, previous=bool(status) and not ended)))

    def _last_lines(self, pod: str, previous: bool) -> tuple[str, ...]:
        try:
            return tuple(redacted(line) for line in self._client.log_tail(pod, LAST_LINES, previous=previous))
        except ClusterError as error:
            log.info("the log of %s cannot be read: %s", pod, error)
            return ()

    def _stream(self, pod: Json) -> None:
        container = self._client.backend.container
        uid, status = pod["metadata"]["uid"], _container(pod, container)
        key = (uid, status.get("restartCount", 0))
        started = {"running", "terminated"} & set(status.get("state") or {})
        if not started or key in self._streams or not self._client.backend.is_main(pod):
            return
        self._streams[key] = LogStream(
            self._client,
            pod["metadata"]["name"],
            self._write,
            lambda: uid in self._pods and _is_running(self._pods[uid], container),
        )

    def _count(self) -> None:
        running = sum(_is_running(pod, self._client.backend.container) for pod in self._pods.values())
        if running != self._running:
            self._running = running
            log.info("train: %d of %d pods run", running, self.count)


def _container(pod: Json, name: str) -> Json:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((status for status in statuses if status["name"] == name), {})


def _restarts(pod: Json, container: str) -> int:
    result: int = _container(pod, container).get("restartCount", 0)
    return result


def _has_failed(pod: Json, container: str) -> bool:
    """Return True if the pod's newest try has failed, by itself or at a limit of its own."""
    status, of_container = pod.get("status", {}), _container(pod, container)
    if any(
        (each["type"], each["status"]) == ("DisruptionTarget", "True") and each.get("reason") in GIVEN
        for each in status.get("conditions") or []
    ):
        return False
    if _was_deleted_before_it_ended(pod, of_container):
        return False
    states = [of_container.get("state") or {}, of_container.get("lastState") or {}]
    return status.get("phase") == "Failed" or any(state.get("terminated", {}).get("exitCode") for state in states)


def _was_deleted_before_it_ended(pod: Json, status: Json) -> bool:
    """Return True if somebody deleted a pod that ran, as where a job is given fewer replicas."""
    metadata, ended = pod["metadata"], (status.get("state") or {}).get("terminated") or {}
    if not metadata.get("deletionTimestamp") or not ended.get("finishedAt"):
        return False
    goes = datetime.fromisoformat(metadata["deletionTimestamp"])
    asked = goes - timedelta(seconds=metadata.get("deletionGracePeriodSeconds") or 0)
    return datetime.fromisoformat(ended["finishedAt"]) >= asked


def _is_running(pod: Json, container: str) -> bool:
    return "running" in (_container(pod, container).get("state") or {})
