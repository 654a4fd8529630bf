"""A namespace of the API server that KUBECONFIG names, for as long as a test runs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kubernetes import client, config


@contextmanager
def real_namespace() -> Iterator[tuple[client.ApiClient, str]]:
    """The server, and the name of the namespace, which goes again with all that is in it; skips without a server."""
    if not (path := os.environ.get("KUBECONFIG")):
        pytest.skip("KUBECONFIG names no Kubernetes API server")
    api = config.new_client_from_config(path)
    core, name = client.CoreV1Api(api), f"oaml-test-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield api, name
    finally:
        core.delete_namespace(name)
