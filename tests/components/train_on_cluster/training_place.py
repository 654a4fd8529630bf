"""Training on a cluster, as a pipeline step does it, for tests to watch."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from operator_part import OperatorPart, wait_for

from components.cluster import ClusterConfig, EnvironmentConfig, TrainingConfig
from components.train.cluster_launcher import ClusterLauncher
from oaml_core.config import Config, TrainConfig

CLUSTER = ClusterConfig(
    namespace="faces",
    training_backend="pytorchjob",
    config_maps=[EnvironmentConfig("oaml", {"endpoint": "OAML_S3_ENDPOINT"})],
    secrets=[
        EnvironmentConfig("oaml-store", {"access-key": "AWS_ACCESS_KEY_ID", "secret-key": "AWS_SECRET_ACCESS_KEY"})
    ],
    training=TrainingConfig(image="registry.example.com/oaml/train:1", gpus=1, start_patience_seconds=1),
)
CONFIG = Config(name="night", store="s3://models/oaml", train=TrainConfig(min_nodes=1, max_nodes=2))
DATASET = "s3://models/oaml/datasets/f1"
PREFIX = "runs/night-0123456789abcdef"


class Training:
    """A launcher at work in a thread, as a pipeline step would have it."""

    def __init__(self, cluster: ClusterConfig, config: Config) -> None:
        self.error: BaseException | None = None
        self._arguments = (config, DATASET, PREFIX)
        self._launcher = ClusterLauncher(cluster)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def wait(self) -> BaseException | None:
        """What it ended with: None, or the error."""
        wait_for(lambda: self.is_over)
        return self.error

    def _run(self) -> None:
        try:
            self._launcher(*self._arguments)
        except BaseException as error:
            self.error = error


@dataclass
class Place:
    """A namespace of a cluster, with somebody in it who plays the operator."""

    kubeconfig: Path
    namespace: str
    operator: OperatorPart
    serves_logs: bool

    def train(self, config: Config = CONFIG, **changes: object) -> Training:
        """A training in this namespace, with `changes` of the cluster file's `training`."""
        training = replace(CLUSTER.training, **changes)
        cluster = replace(CLUSTER, namespace=self.namespace, training_backend=self.operator.backend, training=training)
        return Training(cluster, config)
