"""A word to people: through a webhook, where one is configured, and as an Event, where a cluster is."""

from __future__ import annotations

import logging
import os
from urllib.parse import SplitResult

from oaml_core.cluster_event import Reason, record_event
from oaml_core.errors import ConfigError
from oaml_core.post_json import NotReached, post_json
from oaml_core.web_addresses import web_address

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
    try:
        url = webhook()
    except ConfigError as error:
        log.warning("The webhook is told nothing. %s", error)
        return False
    if url is None:
        return False
    try:
        status = post_json(url.geturl(), {"text": text})
    except NotReached as error:
        log.warning("The webhook at %s cannot be reached (%s).", url.hostname, error)
        return False
    if status >= 300:
        log.warning("The webhook at %s refused the message (%d).", url.hostname, status)
    return status < 300


def webhook() -> SplitResult | None:
    """Return the address of the webhook; None: none is configured. Raises ConfigError: it is no address."""
    url = os.environ.get(WEBHOOK)
    return web_address(url, WEBHOOK, "https://host/path") if url else None
