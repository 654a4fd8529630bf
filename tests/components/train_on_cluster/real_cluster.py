"""A namespace of the cluster that KUBECONFIG names, with the CustomResourceDefinitions, for as long as a test runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from kubelet_part import kubelet
from kubernetes import client
from kubernetes.client import ApiException
from kubernetes_server.kube_schema import crd
from kubernetes_server.pod_logs import PodLogs
from kubernetes_server.real_server import real_namespace
from operator_part import OperatorPart, wait_for


@contextmanager
def training_namespace() -> Iterator[tuple[Path, str, OperatorPart, bool]]:
    """Path of the kubeconfig, the namespace, somebody who plays the operator in it, and whether logs can be read."""
    with real_namespace() as (api, name):
        core, logs = client.CoreV1Api(api), PodLogs()
        install(api, "pytorchjobs")
        with suppress(ApiException):  # a controller may have been faster
            core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
        is_here = api.configuration.host.split("//")[1].startswith(("127.0.0.1", "localhost", "[::1]"))
        try:
            with kubelet(core, logs) as node:
                yield Path(os.environ["KUBECONFIG"]), name, OperatorPart(api, name, logs, node), is_here
        finally:
            for pod in core.list_namespaced_pod(name).items:
                core.delete_namespaced_pod(pod.metadata.name, name, grace_period_seconds=0)


def install(api: client.ApiClient, plural: str) -> None:
    """See to it that the server knows the custom resource."""
    extensions, definition = client.ApiextensionsV1Api(api), crd(plural)
    try:
        extensions.create_custom_resource_definition(definition)
    except ApiException as error:
        if error.status == 422:
            pytest.skip(f"this API server is too old for the definition of {plural}")
        if error.status != 409:
            raise
    name = definition["metadata"]["name"]

    def is_served() -> bool:
        conditions = extensions.read_custom_resource_definition(name).status.conditions or []
        return any(each.type == "Established" and each.status == "True" for each in conditions)

    wait_for(is_served)
