"""The training run as a job on a cluster sees it: a name, a command, and how many nodes it may have."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.cluster import ClusterConfig
from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.settings import config_to_yaml

LONGEST_NAME = 52
"""A job's name is at most this long, so that its pods' names, `<job>-worker-<number>`, are DNS labels of 63."""


@dataclass(frozen=True)
class TrainingRun:
    """One run."""

    name: str
    """DNS-1035 label: name of the job and id of its rendezvous; the same for all tries of the same training."""
    uri: str
    """Address for checkpoints and results."""
    arguments: tuple[str, ...]
    """Command line of each node's container."""
    min_nodes: int
    """Fewest nodes that it goes on with."""
    max_nodes: int
    """Nodes that are asked for."""
    nproc: int
    """Worker processes per node."""
    max_restarts: int
    """Restarts of the worker processes, for failures and for changes of the number of nodes together."""

    @property
    def is_elastic(self) -> bool:
        """True if the number of nodes may change."""
        return self.min_nodes != self.max_nodes


def training_run(config: Config, dataset_uri: str, run_prefix: str, cluster: ClusterConfig) -> TrainingRun:
    """Return the run that `config` describes on the data set at `dataset_uri`.

    Each node runs the same `oaml train` that a person would; what the operator puts into its environment (PET_*)
    tells `torchrun` about the others. The data set comes from the store, and the result goes there.

    Raises:
        ConfigError: the store or the data set is not where all nodes can reach it, or two times do not go together.
    """
    for key, uri in {"store": config.store, "the data set": dataset_uri}.items():
        if not uri.startswith("s3://"):
            raise ConfigError(f"{key} is {uri}; the pods of a cluster share nothing but an s3:// store: set --store.")
    _check_times(config, cluster)
    options = {"--config": config_to_yaml(config), "--dataset": dataset_uri, "--work_dir": cluster.cache.path}
    return TrainingRun(
        name=job_name(run_prefix),
        uri=f"{config.store.rstrip('/')}/{run_prefix}",
        arguments=("oaml", "train", *(f"{option}={value}" for option, value in options.items())),
        min_nodes=config.train.min_nodes,
        max_nodes=config.train.max_nodes,
        nproc=config.train.nproc or cluster.training.gpus or 1,
        max_restarts=config.train.max_restarts,
    )


def _check_times(config: Config, cluster: ClusterConfig) -> None:
    """A worker that comes back must not give up before the others have noticed that one was lost."""
    lost, join = config.train.worker_timeout_seconds, cluster.training.join_timeout_seconds
    if join <= lost:
        raise ConfigError(
            f"training.join_timeout_seconds {join} does not exceed train.worker_timeout_seconds {lost:g}: a worker "
            "that comes back would give up before the others know that one was lost. Raise the first or lower the "
            "second."
        )


def job_name(run_prefix: str, longest: int = LONGEST_NAME) -> str:
    """Return the job's name for a run in the store: `runs/<name>-<digest>` as a DNS-1035 label, cut before the digest.

    Args:
        longest: characters that it may have; the digest, which tells runs apart, always stays.
    """
    name, _, digest = run_prefix.rpartition("/")[2].rpartition("-")
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    label = label if label[:1].isalpha() else f"run-{label}"
    return f"{label[: longest - 1 - len(digest)].rstrip('-')}-{digest}"
