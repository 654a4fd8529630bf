"""A word to people: through a webhook, where one is configured, and as an Event, where a cluster is."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlparse

from oaml_core.cluster_event import Reason, record_event
from oaml_core.post_json import NotReached, post_json

log = logging.getLogger(__name__)

WEBHOOK = "OAML_WEBHOOK_URL"
"""Environment variable with the address that messages are posted to, as `{"text": …}`: what Slack, Mattermost and
Rocket.Chat take. Such an address is a secret: it is never shown."""


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
    url = os.environ.get(WEBHOOK)
    if not url:
        return False
    if urlparse(url).scheme not in ("http", "https"):
        log.warning("%s is no address of a webhook: https://…", WEBHOOK)
        return False
    try:
        status = post_json(url, {"text": text})
    except NotReached as error:
        log.warning("The webhook at %s cannot be reached (%s).", urlparse(url).hostname, error)
        return False
    if status >= 300:
        log.warning("The webhook at %s refused the message (%d).", urlparse(url).hostname, status)
    return status < 300
