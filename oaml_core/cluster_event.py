"""A word to those who watch a cluster: an Event beside the pod that this process runs in."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from oaml_core.post_json import NotReached, post_json

log = logging.getLogger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts the token of the pod's service account, its namespace and the server's certificate."""
MESSAGE_BYTES = 1024
"""Longest message of an Event (Kubernetes: pkg/apis/core/validation/events.go)."""
Reason = Literal[
    "NightFailed", "NightOverBudget", "NightSkipped", "NightOverdue", "NightDataChanged", "NightModelRefused"
]
"""Subject of an Event; all but a skipped night are warnings."""


def record_event(reason: Reason, text: str) -> bool:
    """Create an Event in the pod's own namespace; whether it was. Outside a cluster, or without a token of a service
    account, nothing is done. A server that refuses it is reported, and stops nothing.

    Args:
        reason: what it is about, for `kubectl get events --field-selector reason=…`.
        text: message; what is beyond `MESSAGE_BYTES` is cut off.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        return False
    try:
        token, namespace = ((ACCOUNT / name).read_text().strip() for name in ("token", "namespace"))
    except OSError:
        return False
    address = f"https://{f'[{host}]' if ':' in host else host}:{port}/api/v1/namespaces/{namespace}/events"
    try:
        headers = {"Authorization": f"Bearer {token}"}
        status = post_json(address, _event(reason, text, namespace), headers, str(ACCOUNT / "ca.crt"))
    except NotReached as error:
        log.warning("No Event can be made: the API server cannot be reached (%s).", error)
        return False
    if status == 403:
        log.warning("This service account may not make Events in namespace %s: apply k8s/base.", namespace)
    elif status >= 300:
        log.warning("The API server refused an Event (%d).", status)
    return status < 300


def _event(reason: Reason, text: str, namespace: str) -> dict[str, Any]:
    # Pipelines tell a pod its name; a pod's host name is cut at 63 characters.
    pod = os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME") or "oaml"
    about = {"apiVersion": "v1", "kind": "Pod", "name": pod, "namespace": namespace}
    if uid := os.environ.get("KFP_POD_UID"):
        about["uid"] = uid
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "oaml-night-", "namespace": namespace},
        "involvedObject": about,
        "reason": reason,
        "message": text.encode()[:MESSAGE_BYTES].decode(errors="ignore"),
        "type": "Normal" if reason == "NightSkipped" else "Warning",
        "source": {"component": "oaml"},
        "reportingComponent": "oaml",
        "reportingInstance": pod,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
