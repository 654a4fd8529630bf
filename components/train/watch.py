"""Follows objects of the Kubernetes API server: lists them, then watches from the list's version, and lists again
where what came between is lost (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import Any

from oaml_core.errors import ClusterError
from oaml_core.structured_text import parse_json

log = logging.getLogger(__name__)

Json = dict[str, Any]
ListCall = Callable[..., Any]
"""A method of the Kubernetes client that lists objects, with its own arguments bound."""

WATCH_SECONDS = 60
"""Time after which the server ends a watch, and the next one begins; so soon a dead connection is noticed."""
CONNECT_SECONDS, READ_SECONDS = 5, WATCH_SECONDS + 15
OUTAGE_SECONDS = 900
"""Time without an answer after which following gives up."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 15.0
GONE = 410


@dataclass(frozen=True)
class ObjectChange:
    """An object that is there, or has just been deleted."""

    object: Json
    deleted: bool = False


class OutOfReach(Exception):
    """The API server has not answered for OUTAGE_SECONDS."""


def changes(list_call: ListCall, stop: Event, there: Iterable[Json] = ()) -> Iterator[ObjectChange]:
    """Yield each object that `list_call` lists, and every later change of one, until `stop` is set.

    Connections that break, servers that are busy (429, 5xx) and versions that are no longer kept (410) are tolerated;
    what was deleted meanwhile is found by comparing lists. An object may come twice with the same content.

    Args:
        list_call: lists the objects.
        stop: ends the iteration.
        there: objects that are known to exist; those that the first list lacks come as deleted.

    Raises:
        ApiException: the server refuses, for a reason that does not pass. OutOfReach: it does not answer.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    known: dict[str, Json] = {item["metadata"]["uid"]: item for item in there}
    version: str | None = None
    answered, wait = time.monotonic(), FIRST_WAIT
    while not stop.is_set():
        try:
            if version is None:
                version, listed = _list(list_call)
                yield from _differences(known, listed)
            for kind, item in _watch(list_call, version):
                version = item["metadata"]["resourceVersion"]
                answered, wait = time.monotonic(), FIRST_WAIT
                if kind == "BOOKMARK":
                    continue
                yield _remembered(known, item, kind == "DELETED")
            answered, wait = time.monotonic(), FIRST_WAIT
        except ApiException as error:
            if error.status == GONE:
                version = None
                continue
            if error.status not in (429, 500, 502, 503, 504):
                raise
            log.info("the API server answers %s; asking again", error.status)
        except HTTPError as error:
            log.info("the connection to the API server broke (%s); asking again", type(error).__name__)
        else:
            continue
        if time.monotonic() - answered > OUTAGE_SECONDS:
            raise OutOfReach
        stop.wait(wait)
        wait = min(LONGEST_WAIT, 2 * wait)


def answer_of(response: Any) -> dict[str, Any]:
    """Return the JSON object that the Kubernetes API server answered with.

    Args:
        response: of urllib3, not decoded.

    Raises:
        ClusterError: it is damaged.
    """
    remedy = "Run the same command again; look at the proxies on the way if it stays so."
    return parse_json(response.data, "The answer of the Kubernetes API server", remedy, ClusterError)


def _list(list_call: ListCall) -> tuple[str, list[Json]]:
    response = list_call(_preload_content=False, _request_timeout=(CONNECT_SECONDS, READ_SECONDS))
    answer = answer_of(response)
    return answer["metadata"]["resourceVersion"], answer["items"]


def _watch(list_call: ListCall, version: str) -> Iterator[tuple[str, Json]]:
    from kubernetes import watch

    stream = watch.Watch(return_type="object").stream(  # as it comes: models refuse what they do not know
        list_call,
        resource_version=version,
        allow_watch_bookmarks=True,
        timeout_seconds=WATCH_SECONDS,
        _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
    )
    for event in stream:
        yield event["type"], event["raw_object"]


def _differences(known: dict[str, Json], listed: list[Json]) -> Iterator[ObjectChange]:
    there = {item["metadata"]["uid"] for item in listed}
    for uid in [uid for uid in known if uid not in there]:
        yield _remembered(known, known[uid], deleted=True)
    for item in listed:
        yield _remembered(known, item, deleted=False)


def _remembered(known: dict[str, Json], item: Json, deleted: bool) -> ObjectChange:
    uid = item["metadata"]["uid"]
    if deleted:
        known.pop(uid, None)
    else:
        known[uid] = item
    return ObjectChange(item, deleted)
