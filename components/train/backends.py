"""The kinds of training job, by the name that `training_backend` in the cluster file gives them."""

from __future__ import annotations

from components.train.backend import Backend
from components.train.pytorchjob import PyTorchJob
from components.train.trainjob import TrainJob

BACKENDS: dict[str, Backend] = {"pytorchjob": PyTorchJob(), "trainjob": TrainJob()}
