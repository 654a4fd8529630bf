"""The Kubeflow Pipelines server: where it is, what it holds of ours, and what its refusals mean."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from oaml_core.errors import ClusterError
from oaml_core.web_addresses import web_address

T = TypeVar("T")
ENDPOINT, TOKEN = "KFP_ENDPOINT", "KFP_TOKEN"
"""Environment variables: `https://host[/path]` of the server, and a bearer token where it wants one."""
PIPELINE = "oaml"
TRIES = 5
FIRST_WAIT = 0.5
"""Seconds before a question is asked again; each further wait is twice as long."""
BUSY = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Kubeflow:
    """A server that answers. All calls raise `ClusterError`, saying what to do, where it refuses."""

    client: Any
    """A `kfp.Client`."""
    namespace: str | None
    """Namespace of runs, on a server with profiles of several users; else None."""

    def experiment(self, name: str) -> str:
        """Id of the experiment `name`, which is made if there is none."""
        return str(
            ask(
                f"experiment {name}",
                lambda: self.client.create_experiment(name, namespace=self.namespace).experiment_id,
            )
        )

    def version(self, package: Path) -> tuple[str, str]:
        """Ids of the pipeline and of the version that is the compiled file `package`, uploaded if it is not there.

        Versions are named by their content, so that the same pipeline is uploaded once.
        """
        name = f"{PIPELINE}-{hashlib.sha256(package.read_bytes()).hexdigest()[:16]}"
        pipeline = self._pipeline_named(PIPELINE)
        if pipeline is None:
            made = tell(
                "upload the pipeline",
                lambda: self.client.upload_pipeline(str(package), PIPELINE, namespace=self.namespace),
            )
            pipeline = made.pipeline_id
        else:
            found = self._version_named(pipeline, name)
            if found is not None:
                return pipeline, found
        version = tell(
            "upload the pipeline's version",
            lambda: self.client.upload_pipeline_version(str(package), name, pipeline_id=pipeline),
        )
        return pipeline, str(version.pipeline_version_id)

    def _pipeline_named(self, name: str) -> str | None:
        """Return the id of the pipeline `name` of our namespace, which is where its name is unique."""
        predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
        listed = ask(
            "list pipelines",
            lambda: self.client.list_pipelines(
                page_size=100, filter=json.dumps({"predicates": [predicate]}), namespace=self.namespace
            ),
        )
        return next((str(each.pipeline_id) for each in listed.pipelines or []), None)

    def _version_named(self, pipeline: str, name: str) -> str | None:
        page = ""
        while True:
            listed = ask(
                "list versions",
                lambda page=page: self.client.list_pipeline_versions(pipeline, page_token=page, page_size=100),  # type: ignore[misc]
            )
            for version in listed.pipeline_versions or []:
                if version.display_name == name:
                    return str(version.pipeline_version_id)
            if not (page := listed.next_page_token or ""):
                return None


def connect(namespace: str) -> Kubeflow:
    """Return the server that the environment names.

    Args:
        namespace: of the runs, if the server has profiles of several users.

    Raises:
        ClusterError: none is named, or it does not answer, or not to us. ConfigError: its address cannot be.
    """
    endpoint = os.environ.get(ENDPOINT, "").rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise ClusterError(
            f"Set {ENDPOINT} to the address of Kubeflow Pipelines, such as https://kubeflow.example.org/pipeline; "
            "after `kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` it is http://localhost:8080."
        )
    web_address(endpoint, ENDPOINT, "https://kubeflow.example.org/pipeline")
    token = os.environ.get(TOKEN) or None
    shared = _healthy(endpoint, token)
    import kfp

    with contextlib.redirect_stdout(io.StringIO()):
        client = kfp.Client(host=endpoint, existing_token=token, namespace=namespace if shared else "")
    return Kubeflow(client, namespace if shared else None)


def dated(name: str) -> str:
    """`name` with the date and time of now, in UTC."""
    return f"{name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"


def ask(what: str, call: Callable[[], T]) -> T:
    """`call()`, which changes nothing, tried again where the server is busy."""
    return _called(what, call, TRIES)


def tell(what: str, call: Callable[[], T]) -> T:
    """`call()`, which changes something, tried once: nobody knows whether a failed one was heard."""
    return _called(what, call, 1)


def _called(what: str, call: Callable[[], T], most: int) -> T:
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    for tries in range(1, most + 1):
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the client prints links of its own
                return call()
        except ApiException as error:
            if error.status not in BUSY or tries == most:
                refused(what, error.status, str(error.reason or ""))
        except HTTPError as error:
            if tries == most:
                raise ClusterError(f"{what}: Kubeflow does not answer ({type(error).__name__}). {_look()}") from None
        time.sleep(FIRST_WAIT * 2 ** (tries - 1))
    raise AssertionError("the last try returns or raises")


def refused(what: str, status: int, reason: str) -> NoReturn:
    """Say what an answer of this HTTP status means."""
    if status in (401, 403):
        meaning = f"it does not accept these credentials: set {TOKEN} to a token of an account that may run pipelines"
    elif status == 404:
        meaning = f"it knows no such thing: check {ENDPOINT}, and that it is version 2 of Kubeflow Pipelines"
    elif status == 409:
        meaning = f"one of that name is there already, made meanwhile or hidden from these credentials: {reason}"
    elif status in BUSY:
        meaning = f"it has trouble of its own. {_look()}"
    else:
        meaning = reason or "it gives no reason"
    raise ClusterError(f"{what}: Kubeflow refused ({status}): {meaning.rstrip('.')}.")


def _healthy(endpoint: str, token: str | None) -> bool:
    """Return True if the server has profiles of several users.

    Raises:
        ClusterError: it does not answer, or is something else.
    """
    import urllib3

    retries = urllib3.Retry(total=TRIES, backoff_factor=FIRST_WAIT, status_forcelist=BUSY, raise_on_status=False)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib3.PoolManager(retries=retries, timeout=urllib3.Timeout(connect=5, read=30)) as pool:
            answer = pool.request("GET", f"{endpoint}/apis/v2beta1/healthz", headers=headers)
        if answer.status != 200:
            refused("healthz", answer.status, answer.reason or "")
        return bool(answer.json().get("multi_user", False))
    except urllib3.exceptions.HTTPError as error:
        raise ClusterError(f"{endpoint} does not answer ({type(error).__name__}). {_look()}") from None
    except ValueError:
        raise ClusterError(
            f"{endpoint} answers, but is not Kubeflow Pipelines: perhaps a page to log in at. Set {TOKEN}, or use "
            "`kubectl port-forward`."
        ) from None


def _look() -> str:
    return f"Check {ENDPOINT}, and the pods of the namespace kubeflow."
