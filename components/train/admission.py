"""Says why Kueue has not admitted a training job that waits in a queue.

A suspended job has no pods and no events of its own: the reason stands in the Workload that Kueue makes of it. A queue
that is not there has no event anywhere.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from threading import Event

from components.pods import QUEUE_LABEL
from components.train.backend import Json
from components.train.client import ClusterClient
from components.train.job_events import LOOK_SECONDS
from components.train.redaction import redacted
from oaml_core.errors import ClusterError

log = logging.getLogger(__name__)

RESERVED = "QuotaReserved"
"""Condition of a Workload: there is room for it, https://kueue.sigs.k8s.io/docs/concepts/workload/."""
LASTING = (
    (
        re.compile(r"LocalQueue .*doesn't exist"),
        "`kubectl get localqueues` lists those of the job's namespace: set training.queue to one of them.",
    ),
    (re.compile(r"ClusterQueue .*doesn't exist"), "Whoever runs Kueue can make it, or name another one in the queue."),
)
"""Reasons that waiting does not mend, and their remedies."""
INACTIVE = re.compile(r"is inactive")
STOPPED = "Somebody has stopped the queue, or it lacks a flavour: whoever runs Kueue can say which."
FULL = (
    "Wait for other jobs to end, or lower training.gpus, cpu, memory or train.max_nodes: a job is admitted as a whole."
)


class Admission:
    """The wait of one job for its admission.

    Args:
        client: of the job's namespace.
        job: object of the API server.
        patience: seconds that a reason which does not mend itself is given.
    """

    def __init__(self, client: ClusterClient, job: Json, patience: float) -> None:
        about = job["metadata"]
        self._client, self._uid, self._patience = client, about["uid"], patience
        self._queue = (about.get("labels") or {}).get(QUEUE_LABEL)
        self._said: set[str] = set()
        self._since: float | None = None
        self.hopeless: str | None = None
        """Why the job is never admitted, once that has lasted for longer than `patience`."""

    def run(self, stop: Event, pods: Callable[[], int]) -> None:
        """Log why the job waits until `stop` is set; nothing for a job that no queue is named for.

        Args:
            pods: gives the number of pods that the job has: there is one once it is admitted.
        """
        while self._queue is not None and not stop.is_set():
            try:
                if pods():
                    self._since = None
                else:
                    self._take(self._client.workloads(self._uid))
            except ClusterError as error:
                if not stop.is_set():
                    self._say(f"why it waits in the queue {self._queue} cannot be read: {error}")
            stop.wait(LOOK_SECONDS)

    def _take(self, workloads: list[Json] | None) -> None:
        """Say why the job waits.

        Args:
            workloads: those that Kueue made of the job; None: there is no Kueue.
        """
        if workloads is None:
            text, lasting = "this cluster has no Kueue. Leave training.queue out, or have Kueue installed.", True
        elif not workloads:
            text, lasting = (
                (
                    "Kueue has not taken note of it yet. If it stays so, Kueue does not manage this kind of job or "
                    "namespace: whoever runs it can say."
                ),
                False,
            )
        else:
            reasons = [condition for each in workloads if (condition := _refused(each)) is not None]
            if not reasons:
                self._since = None
                return
            text, lasting = _meaning(reasons[0])
        told = f"the job waits in the queue {self._queue}: {text}"
        self._say(told)
        now = time.monotonic()
        self._since = (self._since or now) if lasting else None
        if self._since is not None and now - self._since >= self._patience:
            self.hopeless = told

    def _say(self, text: str) -> None:
        if (key := re.sub(r"\d+", "", text)) not in self._said:
            self._said.add(key)
            log.warning("train: %s", text)


def _refused(workload: Json) -> str | None:
    """Return why there is no room for a Workload, in Kueue's words; None if there is, or it does not say."""
    for condition in workload.get("status", {}).get("conditions") or []:
        if (condition["type"], condition["status"]) == (RESERVED, "False"):
            return redacted((condition.get("message") or condition.get("reason") or "no reason is given").strip())
    return None


def _meaning(reason: str) -> tuple[str, bool]:
    """Return a reason with its remedy, and whether waiting is in vain."""
    said = reason.rstrip(".")
    for pattern, remedy in LASTING:
        if pattern.search(said):
            return f"{said}. {remedy}", True
    return f"{said}. {STOPPED if INACTIVE.search(said) else FULL}", False
