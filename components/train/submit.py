"""Create the training job, or take up the one that is there. There is one job per name, whoever repeats the step."""

from __future__ import annotations

import hashlib
import json
import logging
import time

from components.train.backend import Json
from components.train.client import ClusterClient
from oaml_core.errors import ClusterError

log = logging.getLogger(__name__)

SPEC_DIGEST = "oaml/spec-sha256"
"""Annotation with the digest of the spec that a job was made from. The server's defaults make the spec
differ from the one that was sent."""
REMOVAL_SECONDS = 300.0
"""Longest wait for a job that ended to be removed; its pods may take their grace period."""
POLL_SECONDS = 0.5


def sealed(manifest: Json) -> Json:
    """Return `manifest` with the digest of its spec as an annotation."""
    text = json.dumps(manifest["spec"], sort_keys=True)
    annotations = manifest["metadata"].get("annotations", {}) | {SPEC_DIGEST: hashlib.sha256(text.encode()).hexdigest()}
    return manifest | {"metadata": manifest["metadata"] | {"annotations": annotations}}


def submit(client: ClusterClient, manifest: Json) -> Json:
    """Return the job that `manifest`, which is sealed, describes: a new one, or the one of the same spec that is
    under way.

    A job of that name that has ended is replaced, and the new one goes on from its checkpoints.

    Raises:
        ClusterError: a job of the same name and another spec is under way, or the server refuses.
    """
    name = manifest["metadata"]["name"]
    deadline = time.monotonic() + REMOVAL_SECONDS
    while time.monotonic() < deadline:
        if (job := client.create(manifest)) is not None:
            log.info("train: created %s %s in namespace %s", client.backend.kind, name, client.namespace)
            return job
        if (job := client.get(name)) is None:
            continue
        if "deletionTimestamp" in job["metadata"]:
            time.sleep(POLL_SECONDS)
        elif (state := client.backend.state(job)).has_ended:
            log.info("train: replaces %s %s, which has %s: %s", client.backend.kind, name, state.phase, state.message)
            client.delete(name, job["metadata"]["uid"])
        else:
            _refuse_another(client, manifest, job)
            log.info("train: takes up %s %s, which is under way", client.backend.kind, name)
            return job
    raise ClusterError(
        f"{client.backend.kind} {name} is being removed, but was still there after {REMOVAL_SECONDS:.0f} s: see what "
        f"holds it (`kubectl -n {client.namespace} describe {client.backend.plural} {name}`), then repeat the run."
    )


def _refuse_another(client: ClusterClient, manifest: Json, job: Json) -> None:
    ours = manifest["metadata"]["annotations"][SPEC_DIGEST]
    if (job["metadata"].get("annotations") or {}).get(SPEC_DIGEST) != ours:
        name, kind = manifest["metadata"]["name"], client.backend.kind
        raise ClusterError(
            f"{kind} {name} in namespace {client.namespace} is under way with another image, size or configuration. "
            f"Wait for it, give this run another name, or delete it: `kubectl -n {client.namespace} delete "
            f"{client.backend.plural} {name}`; its checkpoints stay."
        )
