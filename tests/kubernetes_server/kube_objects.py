"""The objects of an API server: versions, conflicts, selectors, and what watchers are told."""

from __future__ import annotations

import copy
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes_server.kube_schema import scale_path, schema_errors

Json = dict[str, Any]
STATUS_SUBRESOURCE = ("pods", "pytorchjobs", "trainjobs")
CUSTOM = ("pytorchjobs", "trainjobs")
REASONS = {400: "BadRequest", 404: "NotFound", 409: "Conflict", 410: "Expired", 422: "Invalid"}


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, code: int, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason or REASONS[code]

    def body(self) -> Json:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "code": self.code,
        }


class Objects:
    """All objects; one version counter counts every change."""

    def __init__(self) -> None:
        self._items: dict[tuple[str, str, str], Json] = {}
        self._version = 1
        self._history: list[tuple[int, str, str, Json]] = []
        self._oldest = 0
        self._watch_generation = 0
        self._changed = threading.Condition()

    def create(self, plural: str, namespace: str, item: Json, *, dry_run: bool = False, strict: bool = False) -> Json:
        item = copy.deepcopy(item)
        name = item["metadata"]["name"]
        if item["metadata"].setdefault("namespace", namespace) != namespace:
            raise Refused(400, "the namespace of the object does not match the namespace on the request")
        if plural in CUSTOM and (errors := schema_errors(plural, item)):
            unknown = all("Additional properties" in error for error in errors)
            if strict or not unknown:
                raise Refused(400 if unknown else 422, "; ".join(errors))
        with self._changed:
            if (plural, namespace, name) in self._items:
                raise Refused(409, f'{plural} "{name}" already exists', "AlreadyExists")
            item["metadata"] |= {
                "uid": str(uuid.uuid4()),
                "creationTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "generation": 1,
            }
            if plural in STATUS_SUBRESOURCE:
                item["status"] = {"phase": "Pending"} if plural == "pods" else {}
            return item if dry_run else self._store("ADDED", plural, item)

    def get(self, plural: str, namespace: str, name: str) -> Json:
        with self._changed:
            if (plural, namespace, name) not in self._items:
                raise Refused(404, f'{plural} "{name}" not found')
            return copy.deepcopy(self._items[plural, namespace, name])

    def list(self, plural: str, namespace: str, query: dict[str, str]) -> Json:
        with self._changed:
            items = [
                copy.deepcopy(item)
                for (kind, where, _), item in sorted(self._items.items())
                if (kind, where) == (plural, namespace) and _is_selected(item, query)
            ]
            return {"kind": "List", "metadata": {"resourceVersion": str(self._version)}, "items": items}

    def patch(self, plural: str, namespace: str, name: str, patch: Json, *, status: bool = False) -> Json:
        """RFC 7386, on the status alone or on all but the status."""
        with self._changed:
            item = self.get(plural, namespace, name)
            expected = patch.get("metadata", {}).get("resourceVersion")
            if expected not in (None, item["metadata"]["resourceVersion"]):
                raise Refused(409, f'{plural} "{name}": the object has been modified; apply your changes to the latest')
            if status and (bare := [each["type"] for each in _conditions(patch) if "lastTransitionTime" not in each]):
                # The API server keeps such a condition, but the next status update of a controller resets it.
                raise Refused(422, f"status.conditions: {', '.join(bare)} without lastTransitionTime")
            part = {key: value for key, value in patch.items() if (key == "status") == status}
            return self._store("MODIFIED", plural, _merged(item, part))

    def scale(self, plural: str, namespace: str, name: str, patch: Json) -> Json:
        """Patch the `scale` sub-resource: the one number that it stands for changes, where the definition says."""
        path = scale_path(plural)
        if path is None:
            raise Refused(404, f"{plural}/scale: the server could not find the requested resource")
        value: Any = patch["spec"]["replicas"]
        for key in reversed(path):
            value = {key: value}
        return self.patch(plural, namespace, name, value)

    def delete(self, plural: str, namespace: str, name: str, options: Json) -> Json:
        """Delete an object; a pod that runs is only marked, until it is deleted without a time to end."""
        with self._changed:
            item = self.get(plural, namespace, name)
            uid = options.get("preconditions", {}).get("uid")
            if uid not in (None, item["metadata"]["uid"]):
                raise Refused(409, f"the UID in the precondition ({uid}) does not match the UID in record")
            if plural == "pods" and (seconds := _time_to_end(item, options)):
                goes = datetime.now(UTC) + timedelta(seconds=seconds)
                marks = {
                    "deletionTimestamp": goes.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "deletionGracePeriodSeconds": seconds,
                }
                item["metadata"] = marks | item["metadata"]  # a second time changes nothing
                return self._store("MODIFIED", plural, item)
            del self._items[plural, namespace, name]
            self._told("DELETED", plural, item)
            return {"kind": "Status", "status": "Success", "details": {"name": name, "uid": item["metadata"]["uid"]}}

    def watch(self, plural: str, namespace: str, query: dict[str, str]) -> Iterator[Json]:
        """Events after the version that `query` names, and bookmarks, until its time is over.

        Raises:
            Refused: 410, what came after that version is no longer known. ConnectionAbortedError: `break_watches`.
        """
        version = int(query.get("resourceVersion") or 0)
        deadline = time.monotonic() + float(query.get("timeoutSeconds", 30))
        generation = self._watch_generation
        while True:
            with self._changed:
                if version < self._oldest:
                    raise Refused(410, f"too old resource version: {version} ({self._oldest})")
                fresh = [entry for entry in self._history if entry[0] > version]
                newest = self._version
            for _, kind, changed, item in fresh:
                if changed == plural and item["metadata"]["namespace"] == namespace and _is_selected(item, query):
                    yield {"type": kind, "object": copy.deepcopy(item)}
            if newest > version and query.get("allowWatchBookmarks") == "true":
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(newest)}}}
            version = newest
            with self._changed:
                self._changed.wait_for(
                    lambda seen=newest: self._version > seen or self._watch_generation != generation,
                    timeout=max(0.0, deadline - time.monotonic()),
                )
                if self._watch_generation != generation:
                    raise ConnectionAbortedError
            if time.monotonic() >= deadline:
                return

    def break_watches(self, *, forget: bool = False) -> None:
        """Break all connections that watch; with `forget`, versions before now are no longer known (410)."""
        with self._changed:
            if forget:
                self._version += 1
                self._oldest = self._version
                self._history.clear()
            self._watch_generation += 1
            self._changed.notify_all()

    def forget_all(self) -> None:
        """Forget all changes so far, and break no connection: who has not kept up is answered with 410."""
        with self._changed:
            self._oldest = self._version
            self._history.clear()

    def _store(self, event: str, plural: str, item: Json) -> Json:
        self._items[plural, item["metadata"]["namespace"], item["metadata"]["name"]] = item
        self._told(event, plural, item)
        return copy.deepcopy(item)

    def _told(self, event: str, plural: str, item: Json) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, event, plural, copy.deepcopy(item)))
        self._changed.notify_all()


def _is_selected(item: Json, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    wanted = [pair.split("=") for pair in filter(None, query.get("labelSelector", "").split(","))]
    fields = [pair.split("=") for pair in filter(None, query.get("fieldSelector", "").split(","))]
    return all(labels.get(key) == value for key, value in wanted) and all(
        _field(item, path) == value for path, value in fields
    )


def _time_to_end(pod: Json, options: Json) -> int:
    """Seconds that a pod has from its deletion on; none where nothing of it runs."""
    asked = options.get("gracePeriodSeconds")
    if pod["status"].get("phase") in ("Succeeded", "Failed") or not pod["status"].get("containerStatuses"):
        return 0
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _field(item: Json, path: str) -> Any:
    for key in path.split("."):
        item = item.get(key, {})
    return item


def _conditions(patch: Json) -> list[Json]:
    return (patch.get("status") or {}).get("conditions") or []


def _merged(item: Json, patch: Json) -> Json:
    merged = dict(item)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key) or {}, value) if isinstance(value, dict) else value
    return merged
