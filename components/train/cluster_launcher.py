"""Trains on a cluster: a job in place of `torchrun` on this machine."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from components.cluster import ClusterConfig
from components.train.backend import Json
from components.train.backends import chosen_backend
from components.train.client import ClusterClient, connect
from components.train.follow import follow
from components.train.run import training_run
from components.train.submit import sealed, submit
from components.train.workers import GivenUp
from oaml_core.config import Config
from oaml_core.errors import ClusterError
from oaml_core.orderly_end import ASKING, Asked, Handled

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterLauncher:
    """Starts the workers of a run as a job on a cluster, and waits for them; a `oaml_core.stages.Launcher`."""

    cluster: ClusterConfig

    def __call__(self, config: Config, dataset_uri: str, run_prefix: str) -> None:
        """Return when the run's result is in the store.

        SIGTERM (the pipeline run is terminated) and Ctrl-C cancel the job, unless it is only this pod that is moved to
        another node: then the job goes on, and the step takes it up again there.

        Raises:
            ConfigError: the job cannot do what is asked for. ClusterError: it failed, or the cluster refused.
        """
        run = training_run(config, dataset_uri, run_prefix, self.cluster)
        api = connect()
        backend = chosen_backend(self.cluster.training_backend, api)
        manifest = backend.manifest(run, self.cluster)
        backend.check(manifest)
        client = ClusterClient(backend, self.cluster.namespace, api)
        with Handled(_leave, *ASKING):
            try:
                job = submit(client, sealed(manifest))
                training = self.cluster.training
                follow(client, job, training.start_patience_seconds, most_failures=training.backoff_limit)
            except GivenUp:
                _cancel(client, manifest)
                raise
            except (SystemExit, KeyboardInterrupt):
                if not _is_moved(client):
                    _cancel(client, manifest)
                raise


def _cancel(client: ClusterClient, manifest: Json) -> None:
    """Delete the job that `manifest` describes, if there is one, whether or not its creation was answered."""
    name = manifest["metadata"]["name"]
    if (job := client.get(name)) is None:
        return
    log.warning("train: cancels %s %s; its checkpoints stay in the store", client.backend.kind, name)
    client.delete(name, job["metadata"]["uid"])


def _leave(number: int, _: object) -> None:
    """Leave the blocks in order. A handler of its own: following a job can be ended early, by a spent budget too."""
    raise Asked(128 + number)


def _is_moved(client: ClusterClient) -> bool:
    """Return True if the cluster takes this process' own pod away, rather than somebody who ends the run."""
    name = os.environ.get("KFP_POD_NAME")
    try:
        pod = client.pod(name) if name else None
    except ClusterError:
        return False
    conditions = (pod or {}).get("status", {}).get("conditions") or []
    return any(each["type"] == "DisruptionTarget" and each["status"] == "True" for each in conditions)
