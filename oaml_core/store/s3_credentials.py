"""Where credentials of an S3 store come from, in which order, and when they are asked for again."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from oaml_core.errors import StoreError
from oaml_core.store.s3_identity import NoSuchWay, container_agent, instance_role, web_identity
from oaml_core.store.s3_profiles import environment_keys, minio_client_keys, profile_keys

log = logging.getLogger(__name__)

ANONYMOUS = "OAML_S3_ANONYMOUS"
"""Environment variable that says, with `1`, that requests are sent without credentials: public buckets."""
EARLIEST = 600.0
"""Seconds before keys run out when new ones are asked for, if they are valid for 40 minutes at least."""
SHARE_USED = 0.75
"""Share of their lifetime after which others are renewed."""
FILE_SECONDS = 60.0
"""Seconds after which keys without an end are looked for again: files of keys are rewritten by other tools."""
AGAIN = 30.0
"""Seconds until keys are asked for again that could not be renewed and are still valid."""

Way = tuple[str, Callable[[], Any]]


def is_anonymous() -> bool:
    """Return True if requests are to be sent without credentials."""
    return os.environ.get(ANONYMOUS) == "1"


def ways_to_keys(pool: Any) -> list[Way]:
    """List the ways to credentials, each with its name, in the order in which they are tried.

    Args:
        pool: urllib3 pool for an STS endpoint of one's own, which may have a private authority.
    """
    return [
        ("the environment", environment_keys),
        ("a web identity token", lambda: web_identity(pool)),
        ("AWS's shared files", lambda: profile_keys(pool)),
        ("MinIO's client configuration", minio_client_keys),
        ("the container's agent", container_agent),
        ("the machine's role", instance_role),
    ]


def credentials_provider(ways: Sequence[Way]) -> Any:
    """Make a `minio.credentials.Provider` that tries the ways in order and stays with the first that there is.

    A way that the environment describes and that fails is an error: the next one would be somebody else's identity.

    Args:
        ways: see `ways_to_keys`.
    """
    from minio.credentials.providers import Provider

    class Chain(Provider):
        def __init__(self) -> None:
            self._lock = threading.Lock()
            self._kept: Any = None
            self._way: Way | None = None
            self._due = 0.0

        def retrieve(self) -> Any:
            with self._lock:
                if self._kept is None or time.time() >= self._due:
                    self._renew()
                return self._kept

        def _renew(self) -> None:
            try:
                found = _first(ways) if self._way is None else (self._way, self._way[1]())
            except (StoreError, NoSuchWay) as error:
                if self._kept is None or self._kept.is_expired():
                    raise StoreError(str(error)) from None
                log.warning("Credentials could not be renewed, and are valid still: %s", error)
                self._due = time.time() + AGAIN
                return
            self._way, self._kept = found
            self._due = time.time() + _seconds_to_use(self._kept)

    return Chain()


def _first(ways: Sequence[Way]) -> tuple[Way, Any]:
    tried = []
    for way in ways:
        try:
            return way, way[1]()
        except NoSuchWay as reason:
            tried.append(f"{way[0]} ({reason})")
    raise StoreError(
        f"An s3:// store needs credentials, and there are none. Tried in this order: {'; '.join(tried)}. Set one of "
        f"them, or {ANONYMOUS}=1 for a public bucket."
    )


def _seconds_to_use(keys: Any) -> float:
    """Return the seconds until keys are to be asked for again."""
    from minio.time import utcnow

    if keys.expiration is None:
        return FILE_SECONDS
    left = (keys.expiration - utcnow().replace(tzinfo=None)).total_seconds()
    return float(max(left - EARLIEST, SHARE_USED * left))
