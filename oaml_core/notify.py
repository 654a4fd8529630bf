"""A word to people: through a webhook, where one is configured, and as an Event, where a cluster is."""

from __future__ import annotations

import json
import logging
import os
from urllib.parse import urlparse

from oaml_core.cluster_event import Reason, record_event

log = logging.getLogger(__name__)

WEBHOOK = "OAML_WEBHOOK_URL"
"""Environment variable with the address that messages are posted to, as `{"text": …}`: what Slack, Mattermost and
Rocket.Chat take. Such an address is a secret: it is never shown."""
TRIES = 3
BUSY = (429, 502, 503, 504)


def notify(text: str, reason: Reason) -> bool:
    """Tell `text` to the webhook and to the cluster; whether the webhook took it. What fails is reported, and stops
    nothing.

    Args:
        text: one line.
        reason: what it is about, for the cluster.
    """
    record_event(reason, text)
    return _post(text)


def _post(text: str) -> bool:
    import urllib3

    url = os.environ.get(WEBHOOK)
    if not url:
        return False
    if urlparse(url).scheme not in ("http", "https"):
        log.warning("%s is no address of a webhook: https://…", WEBHOOK)
        return False
    retries = urllib3.Retry(total=TRIES, backoff_factor=0.5, allowed_methods=None, status_forcelist=BUSY)
    try:
        with urllib3.PoolManager(retries=retries, timeout=urllib3.Timeout(connect=5, read=10)) as pool:
            headers = {"Content-Type": "application/json"}
            status = pool.request("POST", url, body=json.dumps({"text": text}), headers=headers).status
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        log.warning("The webhook at %s cannot be reached (%s).", urlparse(url).hostname, type(error).__name__)
        return False
    if status >= 300:
        log.warning("The webhook at %s refused the message (%d).", urlparse(url).hostname, status)
    return status < 300
