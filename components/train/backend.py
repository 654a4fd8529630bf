"""What a kind of training job has to offer, so that the launcher need not know which one it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from components.cluster import ClusterConfig
from components.train.run import TrainingRun

Json = dict[str, Any]
Phase = Literal["created", "suspended", "running", "restarting", "succeeded", "failed"]


@dataclass(frozen=True)
class JobState:
    """The state of a job."""

    phase: Phase
    message: str = ""
    """The operator's own words."""

    @property
    def has_ended(self) -> bool:
        """True if nothing more will happen."""
        return self.phase in ("succeeded", "failed")


class Backend(ABC):
    """A kind of training job.

    Attributes:
        kind, group, version, plural: of the custom resource.
        container: name of the pods' container that trains.
    """

    kind: str
    group: str
    version: str
    plural: str
    container: str

    @abstractmethod
    def manifest(self, run: TrainingRun, cluster: ClusterConfig) -> Json:
        """Return the job to be created.

        Raises:
            ConfigError: this kind of job cannot do what the configuration asks for.
        """

    @abstractmethod
    def check(self, manifest: Json) -> None:
        """Apply the rules that the API server leaves to the operator's webhook.

        Raises:
            ClusterError: a rule is broken; names the field.
        """

    @abstractmethod
    def state(self, job: Json) -> JobState:
        """Return the state of `job`, an object of the API server."""

    @abstractmethod
    def pod_selector(self, name: str) -> str:
        """Label selector of the pods of the job `name`."""

    @abstractmethod
    def is_main(self, pod: Json) -> bool:
        """Return True if the worker of rank 0 runs in `pod`; its log is the run's."""


def true_condition(job: Json, *kinds: str) -> tuple[str, str] | None:
    """Type and message of the first of the conditions `kinds` that is True in the status of `job`."""
    conditions = {each["type"]: each for each in job.get("status", {}).get("conditions") or []}
    for kind in kinds:
        if conditions.get(kind, {}).get("status") == "True":
            return kind, conditions[kind].get("message", "")
    return None
