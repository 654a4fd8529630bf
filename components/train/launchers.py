"""Which launcher the train step uses."""

from __future__ import annotations

from components.cluster import ClusterConfig
from oaml_core.settings import dataclass_from_yaml
from oaml_core.stages import Launcher


def launcher(cluster: str) -> str | Launcher:
    """Return the launcher for `oaml_core.stages.train`: `local`, or a job on the cluster that the YAML text
    describes.
    """
    if not cluster:
        return "local"
    found = dataclass_from_yaml(ClusterConfig, cluster, "The cluster file")
    if found.training_backend == "local":
        return "local"
    from components.train.cluster_launcher import ClusterLauncher

    return ClusterLauncher(found)
