"""Post a word to a server that may be busy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

TRIES = 3
"""Further tries where the server is busy or cannot be reached."""
BUSY = (429, 500, 502, 503, 504)
CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0


class NotReached(OSError):
    """A server that cannot be reached; the message names the kind of error and no address, which may be a secret."""


def post_json(
    address: str, content: Any, headers: Mapping[str, str] | None = None, certificates: str | None = None
) -> int:
    """Post content as JSON, again where the server is busy, and return the HTTP status of the answer.

    Args:
        address: `http://` or `https://`.
        content: what JSON can say.
        headers: beside the type of the content.
        certificates: file with the certificates that the server's is signed by; None: those of the system.

    Raises:
        NotReached: there is no answer, or the address is none.
    """
    import urllib3

    retries = urllib3.Retry(total=TRIES, backoff_factor=0.5, allowed_methods=None, status_forcelist=BUSY)
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib3.PoolManager(ca_certs=certificates, retries=retries, timeout=timeout) as pool:
            return int(pool.request("POST", address, body=json.dumps(content), headers=sent).status)
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise NotReached(type(error).__name__) from None
