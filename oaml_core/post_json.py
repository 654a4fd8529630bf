"""Send JSON to a server that may be busy."""

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
    return request_json("POST", address, content, headers, certificates)[0]


def request_json(
    method: str,
    address: str,
    content: Any,
    headers: Mapping[str, str] | None = None,
    certificates: str | None = None,
) -> tuple[int, bytes]:
    """Send content and return the HTTP status and the body of the answer; arguments and errors as of `post_json`.

    Args:
        method: `POST`, or `GET`, whose content is a mapping that goes into the address.
    """
    import urllib3

    retries = urllib3.Retry(total=TRIES, backoff_factor=0.5, allowed_methods=None, status_forcelist=BUSY)
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    sent = {"Content-Type": "application/json", **(headers or {})}
    try:
        with urllib3.PoolManager(ca_certs=certificates, retries=retries, timeout=timeout) as pool:
            if method == "GET":
                answer = pool.request("GET", address, fields=content, headers=sent)
            else:
                answer = pool.request(method, address, body=json.dumps(content), headers=sent)
            return int(answer.status), answer.data
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise NotReached(type(error).__name__) from None
