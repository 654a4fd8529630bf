"""Credentials of a pod's own identity: short-lived, asked for again before they run out, kept in no Secret.

Two ways that clouds and MinIO share: a token of the ServiceAccount that is exchanged for keys (IRSA on EKS, MinIO's
and Ceph's AssumeRoleWithWebIdentity), and an agent on the node that gives keys (EKS Pod Identity, ECS).
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlparse

from oaml_core.errors import StoreError

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
WEB_TOKEN, ROLE = "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"
"""Environment variables that a cloud's webhook sets in the pods of an account that has a role:
https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html"""
AGENT = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
"""https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html"""
STS_ENDPOINT = "AWS_ENDPOINT_URL_STS"
"""Environment variable: where tokens are exchanged; without it the STS of AWS_REGION at AWS."""


def has_workload_identity() -> bool:
    """Return True if the environment holds no keys, and says where to get some."""
    has_keys = any(os.environ.get(name) for name in KEYS)
    return not has_keys and any(os.environ.get(name) for name in (WEB_TOKEN, *AGENT))


def workload_identity(pool: Any) -> Any:
    """Make a `minio.credentials.Provider` that gets keys by the identity that the environment describes.

    Args:
        pool: urllib3 pool for an STS endpoint of one's own, which may have a private authority.

    Raises:
        StoreError: the endpoint is not an address.
    """
    from minio.credentials.providers import IamAwsProvider, Provider
    from minio.error import MinioException
    from urllib3.exceptions import HTTPError

    endpoint = os.environ.get(STS_ENDPOINT) or None
    if endpoint is not None and urlparse(endpoint).scheme not in ("http", "https"):
        raise StoreError(f"{STS_ENDPOINT} must read http://host:port or https://host:port.")
    own = bool(endpoint and os.environ.get(WEB_TOKEN))
    inner = IamAwsProvider(custom_endpoint=endpoint, http_client=pool) if own else IamAwsProvider()

    class Identity(Provider):
        def retrieve(self) -> Any:
            try:
                return inner.retrieve()
            except FileNotFoundError as error:
                raise StoreError(
                    f"The workload identity gives no credentials: there is no token {error.filename}. Does the pod run "
                    "as the ServiceAccount that has the role?"
                ) from None
            except (MinioException, HTTPError, OSError, ValueError, KeyError, SyntaxError) as error:
                why = type(error).__name__ if isinstance(error, HTTPError) else str(error)[:200]
                raise StoreError(
                    f"The workload identity gives no credentials: {why}. Compare {ROLE} and the role's trust in the "
                    "pod's ServiceAccount."
                ) from None

    return Identity()
