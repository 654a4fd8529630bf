"""Reads the events of a training job, its pods and what its operator makes for it, and says them in words.

A pod that is never created has no status: that a quota or an admission rule refused it stands in events alone.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event

from components.train.backend import Json
from components.train.client import ClusterClient
from components.train.redaction import redacted
from oaml_core.errors import ClusterError

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""Between two looks at the events."""
NUMBERED = re.compile(r"(-\d+)+(-[a-z0-9]{5})?\b")
"""End of a pod's name, which differs where the reason is the same."""


@dataclass(frozen=True)
class Meaning:
    """Meaning of a cluster event for a training job."""

    text: str
    """Description of the event, shown before the cluster's own words."""
    remedy: str
    lasting: bool = False
    """Nothing mends it but somebody: waiting is in vain."""


QUOTA = Meaning(
    "the namespace's quota leaves no room for a pod",
    "Wait for other pods to end, raise the ResourceQuota, or lower training.gpus, cpu, memory or train.max_nodes.",
)
POD_SECURITY = Meaning(
    "the namespace's pod security refuses the pod",
    "See training.annotations, run_as_user and the namespace's label pod-security.kubernetes.io/enforce.",
    lasting=True,
)
WEBHOOK = Meaning(
    "an admission webhook refuses the pod",
    "Its reason stands here; whoever runs that policy can say "
    "what it wants of training.labels, annotations and the image.",
    lasting=True,
)
ACCOUNT = Meaning("the pod's ServiceAccount is not there", "Create it, or set training.service_account.", lasting=True)
PRIORITY = Meaning(
    "the pod's PriorityClass is not there", "Apply k8s/base, or set training.priority_class.", lasting=True
)
REFUSED = Meaning("a pod was refused", "See training in the cluster file.", lasting=True)
CREATION = (
    (re.compile(r"exceeded quota|failed quota|insufficient quota", re.IGNORECASE), QUOTA),
    (re.compile(r"violates PodSecurity"), POD_SECURITY),
    (re.compile(r"serviceaccount .*not found|service account .*not found", re.IGNORECASE), ACCOUNT),
    (re.compile(r"no PriorityClass", re.IGNORECASE), PRIORITY),
    (re.compile(r"admission webhook|denied the request|failed calling webhook|ValidatingAdmissionPolicy"), WEBHOOK),
)
"""Meanings of a refused creation, by the API server's words."""
CREATION_REASONS = ("FailedCreate", "FailedCreatePod")
PART_QUOTA = Meaning(
    "the namespace's quota leaves no room for a part of the job",
    "Wait for other jobs to end, or have the ResourceQuota raised: it counts jobs or services, too.",
)
PART_DENIED = Meaning(
    "an admission webhook refuses a part of the job",
    "Its reason stands here; see training and training.runtime in the cluster file.",
    lasting=True,
)
PART = Meaning(
    "a part of the job cannot be made yet",
    "It is tried again. If it stays so, whoever runs the trainer can say whether JobSet is installed and well.",
)
PARTS = ((CREATION[0][0], PART_QUOTA), (re.compile(r"denied the request|ValidatingAdmissionPolicy"), PART_DENIED))
"""Meanings of a part that the trainer or JobSet could not create, by the API server's words."""
PART_REASONS = ("TrainJobResourcesCreationFailed", "JobCreationFailed", "HeadlessServiceCreationFailed")
"""Reasons of the trainer (pkg/controller/trainjob_controller.go) and of JobSet (pkg/constants): a TrainJob's pods are
those of a Job, which a JobSet makes, and each of them can be refused before there is a pod."""
REASONS = {
    "FailedScheduling": Meaning(
        "no node takes a pod", "See training.gpus, cpu, memory, node_selector and tolerations."
    ),
    "FailedMount": Meaning("a volume cannot be mounted", "See cache, secrets and config_maps in the cluster file."),
    "FailedAttachVolume": Meaning(
        "a volume cannot be attached", "A claim shared by nodes must be ReadWriteMany: cache."
    ),
    "FailedCreatePodSandBox": Meaning(
        "a node cannot set a pod up", "See the node's network and training.runtime_class."
    ),
    "NetworkNotReady": Meaning("a node's network is not ready", "See the node."),
    "Failed": Meaning(
        "a container cannot start", "See registry and image_pull_secrets, and that the image was pushed."
    ),
    "ErrImageNeverPull": Meaning("the image is not on the node", "See image_pull_policy."),
    "OOMKilling": Meaning("a node ran out of memory and killed a process", "Raise training.memory."),
    "SystemOOM": Meaning("a node ran out of memory", "Raise training.memory, so that fewer pods share the node."),
    "Evicted": Meaning("a pod was evicted", "Ask for what it uses: training.memory, cache.size_limit."),
    "Preempted": Meaning("a pod made room for another", "training.priority_class can change that."),
    "Unhealthy": Meaning("a sidecar's probe fails", "See istio_sidecar."),
}
"""Meanings by reason (Kubernetes: pkg/kubelet/events, pkg/scheduler; the operators' FailedCreatePod)."""


def meaning(event: Json) -> Meaning | None:
    """Return what the warning `event` means; None if it is none that a training job knows."""
    reason, message = event.get("reason", ""), event.get("message") or ""
    if reason in CREATION_REASONS:
        return next((found for pattern, found in CREATION if pattern.search(message)), REFUSED)
    if reason in PART_REASONS:
        return next((found for pattern, found in PARTS if pattern.search(message)), PART)
    return REASONS.get(reason)


class JobEvents:
    """The warnings about one job.

    Args:
        name: of the job; what its operator makes for it has names that begin with it.
        since: time from which events count, as the API server writes times; those of an older job of that name do not.
        patience: seconds that a refusal which does not mend itself is given.
    """

    def __init__(self, client: ClusterClient, name: str, since: str, patience: float) -> None:
        self._client, self._name, self._since, self._patience = client, name, since, patience
        self._said: set[str] = set()
        self._refused_since: float | None = None
        self.newest: str | None = None
        """The warning that was said last."""
        self.hopeless: str | None = None
        """Why the job cannot start, once its pods have been refused for longer than `patience`."""

    def run(self, stop: Event, pods: Callable[[], int]) -> None:
        """Log new warnings until `stop` is set; training does not depend on it.

        Args:
            pods: gives the number of pods that the job has; a refusal is in vain only while there are none.
        """
        while not stop.is_set():
            try:
                self._take(self._client.warnings(), pods())
            except ClusterError as error:
                if not stop.is_set():
                    self._say(f"events cannot be read: {error}")
            stop.wait(LOOK_SECONDS)

    def _take(self, events: list[Json], pods: int) -> None:
        now, lasting = time.monotonic(), False
        for event in events:
            if self._is_ours(event) and (found := meaning(event)) is not None:
                self._say(_sentence(event, found))
                lasting = lasting or found.lasting
        if not lasting or pods:
            self._refused_since = None
            return
        self._refused_since = self._refused_since or now
        if now - self._refused_since >= self._patience:
            self.hopeless = self.newest

    def _is_ours(self, event: Json) -> bool:
        name = event.get("involvedObject", {}).get("name", "")
        happened = (
            event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp", "")
        )
        result: bool = (name == self._name or name.startswith(f"{self._name}-")) and happened[:19] >= self._since[:19]
        return result

    def _say(self, text: str) -> None:
        if (key := NUMBERED.sub("", text)) not in self._said:
            self._said.add(key)
            self.newest = text
            log.warning("train: %s", text)


def _sentence(event: Json, found: Meaning) -> str:
    about, said = event.get("involvedObject", {}), redacted((event.get("message") or "").strip().rstrip("."))
    return f"{about.get('kind', 'Object')} {about.get('name', '')}: {found.text}: {said}. {found.remedy}"
