"""The kinds of training job, by the name that `training_backend` in the cluster file gives them."""

from __future__ import annotations

from typing import Any

from components.train.backend import Backend
from components.train.client import serves
from components.train.pytorchjob import PyTorchJob
from components.train.trainjob import TrainJob
from oaml_core.errors import ClusterError

BACKENDS: dict[str, Backend] = {"pytorchjob": PyTorchJob(), "trainjob": TrainJob()}


def chosen_backend(wanted: str, api: Any) -> Backend:
    """Return the kind of job that `training_backend` in the cluster file names.

    Args:
        wanted: its name; `auto`: the first of BACKENDS that the cluster serves.
        api: a `kubernetes.client.ApiClient`; asked only for `auto`.

    Raises:
        ClusterError: the cluster serves none of them, or does not answer.
    """
    if wanted != "auto":
        return BACKENDS[wanted]
    for backend in BACKENDS.values():
        if serves(api, backend.group, backend.version, backend.plural):
            return backend
    kinds = " nor ".join(f"{each.plural}.{each.group}" for each in BACKENDS.values())
    raise ClusterError(
        f"The cluster serves neither {kinds}: install the Kubeflow training operator or trainer, or set "
        "training_backend: local, which trains on one node in the step's own pod."
    )
