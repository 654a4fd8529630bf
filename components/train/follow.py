"""Follows a training job to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import Empty, Queue
from threading import Event, Thread

from components.train.admission import Admission
from components.train.backend import JobState, Json
from components.train.client import ClusterClient
from components.train.job_events import JobEvents
from components.train.watch import ListCall, ObjectChange, OutOfReach, changes
from components.train.workers import CannotStart, Failure, GivenUp, Workers
from oaml_core.amounts import amount
from oaml_core.errors import ClusterError

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""Between two looks at the clock while nothing changes."""
JOB, POD = "job", "pod"


def follow(
    client: ClusterClient,
    job: Json,
    patience: float,
    write: Callable[[str], None] = print,
    most_failures: int | None = None,
) -> None:
    """Return when `job` has succeeded; pass on the main worker's log meanwhile.

    Args:
        patience: seconds that a pod which cannot start is given before the job is cancelled.
        write: takes the log's lines.
        most_failures: worker pods that may fail; None: any number.

    Raises:
        ClusterError: the job failed or was deleted; says why, with the failing worker's last lines. GivenUp: it cannot
            start, or its workers failed too often.
    """
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    workers = Workers(client, patience, write)
    warnings = JobEvents(client, name, job["metadata"].get("creationTimestamp", ""), patience)
    admission = Admission(client, job, patience)

    def check() -> None:
        workers.refuse_hopeless()
        if most_failures is not None and workers.failed > most_failures:
            raise GivenUp(_too_often(client, name, workers, most_failures))
        if why := warnings.hopeless or admission.hopeless:
            raise CannotStart(f"{client.backend.kind} {name} cannot start: {why} The job is cancelled.")

    stop = Event()
    events: Queue[tuple[str, ObjectChange | Exception]] = Queue()
    for kind, list_call, there in ((JOB, client.job_list(name), [job]), (POD, client.pod_list(name), [])):
        Thread(target=_report, args=(kind, list_call, there, events, stop), name=f"watch {kind}s", daemon=True).start()
    for what, run in (("warnings", warnings.run), ("admission", admission.run)):
        Thread(target=run, args=(stop, lambda: workers.count), name=f"watch {what}", daemon=True).start()
    try:
        state = _follow(client, uid, events, workers, check)
        workers.finish_logs()
        if state.phase == "failed":
            raise ClusterError(_failed(client, name, state, workers.failures, warnings.newest))
    finally:
        stop.set()


def _report(
    kind: str, list_call: ListCall, there: list[Json], events: Queue[tuple[str, ObjectChange | Exception]], stop: Event
) -> None:
    """Put all changes, and what ends them, into the queue."""
    try:
        for change in changes(list_call, stop, there):
            events.put((kind, change))
    except Exception as error:  # whatever it is, the main thread has to know
        events.put((kind, error))


def _follow(
    client: ClusterClient,
    uid: str,
    events: Queue[tuple[str, ObjectChange | Exception]],
    workers: Workers,
    check: Callable[[], None],
) -> JobState:
    """Return the state in which the job `uid` ends."""
    state = JobState("created")
    while True:
        try:
            kind, what = events.get(timeout=TICK_SECONDS)
        except Empty:
            check()
            continue
        if isinstance(what, Exception):
            _raise(client, what)
        elif kind == POD:
            workers.take(what)
            check()
        elif what.object["metadata"]["uid"] == uid:
            state = _said(client, state, what)
            if state.has_ended:
                _take_last_pods(events, workers)
                return state


def _said(client: ClusterClient, before: JobState, change: ObjectChange) -> JobState:
    """Return the job's state, logged where it is new.

    Raises:
        ClusterError: the job is gone.
    """
    name = change.object["metadata"]["name"]
    now = client.backend.state(change.object)
    if change.deleted and not now.has_ended:
        raise ClusterError(
            f"{client.backend.kind} {name} was deleted, by a person or a controller, before it had ended. Its "
            "checkpoints stay: the same run goes on from the newest."
        )
    if now != before:
        log.info(
            "train: %s %s is %s%s", client.backend.kind, name, now.phase, f": {now.message}" if now.message else ""
        )
    return now


def _take_last_pods(events: Queue[tuple[str, ObjectChange | Exception]], workers: Workers) -> None:
    """Take what the pods' watch still has to say: it is not in step with the job's."""
    while True:
        try:
            kind, what = events.get(timeout=2 * TICK_SECONDS)
        except Empty:
            return
        if kind == POD and isinstance(what, ObjectChange):
            workers.take(what)


def _raise(client: ClusterClient, error: Exception) -> None:
    from kubernetes.client import ApiException

    if isinstance(error, OutOfReach):
        raise ClusterError(
            "The Kubernetes API server has not answered for a quarter of an hour. The training job goes on without it, "
            "and this step takes it up again when it is repeated."
        ) from None
    if isinstance(error, ApiException):
        client.refused("watch", error)
    raise error


def _failed(client: ClusterClient, name: str, state: JobState, failures: list[Failure], warning: str | None) -> str:
    """Say what happened: the operator's words, the workers' troubles, and the last lines of the most telling log."""
    parts = [f"{client.backend.kind} {name} failed: {state.message}", *([f"  {warning}"] if warning else [])]
    return "\n".join([*parts, *_told(failures)])


def _too_often(client: ClusterClient, name: str, workers: Workers, most: int) -> str:
    """Say why the job was ended: how often its workers failed, and the newest reason."""
    said = (
        f"{client.backend.kind} {name} was ended: its worker pods failed {amount(workers.failed, 'time')}, more often "
        f"than training.backoff_limit {most} allows."
    )
    return "\n".join([said, *_told(workers.failures[-1:])])


def _told(failures: list[Failure]) -> list[str]:
    """Return the workers' troubles, and the last lines of the one that tells most."""
    parts: list[str] = []
    parts += dict.fromkeys(f"  {failure.trouble}" for failure in failures)
    if telling := next((each for each in reversed(failures) if each.last_lines), None):
        parts += [f"Last lines of {telling.trouble.pod}:", *(f"  {line}" for line in telling.last_lines)]
    return [*parts, "Its checkpoints stay in the store: the same run goes on from the newest."]
