"""The calls that training makes of the Kubernetes API server, all of them in one namespace."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from components.train.backend import Backend, Json
from components.train.watch import ListCall, answer_of
from oaml_core.errors import ClusterError
from oaml_core.structured_text import json_or_none

CONNECT_SECONDS, READ_SECONDS = 5, 30
TRIES = 6
"""Tries of one call, about half a minute in all: an API server that is restarted or busy is waited for."""
MOST_EVENTS = 500
BUSY = (429, 500, 502, 503, 504)
KUEUE, KUEUE_VERSIONS, KUEUE_JOB_LABEL = "kueue.x-k8s.io", ("v1beta2", "v1beta1"), "kueue.x-k8s.io/job-uid"


def connect() -> Any:
    """Return a client of the API server that KUBECONFIG names, else of the cluster that this pod runs in, else of
    ~/.kube/config; nothing is sent yet.

    Raises:
        ClusterError: there is none of the three.
    """
    import urllib3
    from kubernetes import client, config

    settings = client.Configuration()
    try:
        if "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=settings)
    except config.ConfigException as error:
        raise ClusterError(f"No cluster to train on: {error} Set KUBECONFIG, or run this in a cluster's pod.") from None
    # A POST may be sent twice, too: jobs are created by name, and the second gets 409.
    settings.retries = urllib3.Retry(
        total=TRIES,
        backoff_factor=0.5,
        backoff_max=10,
        backoff_jitter=0.5,
        status_forcelist=BUSY,
        allowed_methods=None,
        raise_on_status=False,
    )
    return client.ApiClient(settings)


def serves(api: Any, group: str, version: str, plural: str) -> bool:
    """Return True if the API server knows the custom resource; every account may ask that.

    Raises:
        ClusterError: the server refuses, or does not answer.
    """
    from kubernetes import client
    from urllib3.exceptions import HTTPError

    try:
        found = client.CustomObjectsApi(api).get_api_resources(
            group, version, _request_timeout=(CONNECT_SECONDS, READ_SECONDS)
        )
    except client.ApiException as error:
        if error.status == 404:
            return False
        raise ClusterError(f"The Kubernetes API server refused ({error.status}): {_message(error)}.") from None
    except HTTPError as error:
        raise ClusterError(f"The Kubernetes API server does not answer ({type(error).__name__}).") from None
    return any(each.name == plural for each in found.resources)


@dataclass(frozen=True)
class ClusterClient:
    """Jobs of one kind, their pods and the pods' logs, in one namespace.

    All calls raise `ClusterError`, saying what to do, where the server refuses or does not answer.
    """

    backend: Backend
    namespace: str
    api: Any
    """A `kubernetes.client.ApiClient`."""

    def get(self, name: str) -> Json | None:
        """Return the job `name`; None if there is none."""
        result: Json | None = self._answer(
            "get", self._jobs().get_namespaced_custom_object, *self._kind(), name, missing=None
        )
        return result

    def create(self, manifest: Json, *, dry_run: bool = False) -> Json | None:
        """Create a job; None if there is one of that name. Fields that the server does not know are refused."""
        options = {"field_validation": "Strict"} | ({"dry_run": "All"} if dry_run else {})
        call = self._jobs().create_namespaced_custom_object
        result: Json | None = self._answer("create", call, *self._kind(), manifest, existing=None, **options)
        return result

    def delete(self, name: str, uid: str) -> None:
        """Delete the job `name`, if it is still the one that has this `uid`, and its pods with it."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        call = self._jobs().delete_namespaced_custom_object
        self._answer("delete", call, *self._kind(), name, body=body, missing=None, existing=None)

    def job_list(self, name: str) -> ListCall:
        """Return the call that lists or watches the job `name`."""
        call = self._jobs().list_namespaced_custom_object
        return partial(call, *self._kind(), field_selector=f"metadata.name={name}")

    def pod_list(self, name: str) -> ListCall:
        """Return the call that lists or watches the pods of the job `name`."""
        selector = self.backend.pod_selector(name)
        return partial(self._core().list_namespaced_pod, self.namespace, label_selector=selector)

    def warnings(self) -> list[Json]:
        """Return the newest warnings about objects of the namespace."""
        response = self._answer(
            "list",
            self._core().list_namespaced_event,
            self.namespace,
            field_selector="type=Warning",
            limit=MOST_EVENTS,
            _preload_content=False,  # as it comes: models refuse what they do not know
        )
        return list(answer_of(response)["items"])

    def workloads(self, uid: str) -> list[Json] | None:
        """Return the Workloads that Kueue made of the job `uid`; None if the server knows no such kind."""
        for version in KUEUE_VERSIONS:
            call = self._jobs().list_namespaced_custom_object
            selector = f"{KUEUE_JOB_LABEL}={uid}"
            found = self._answer(
                "list", call, KUEUE, version, self.namespace, "workloads", label_selector=selector, unknown=None
            )
            if found is not None:
                return list(found["items"])
        return None

    def pod(self, name: str) -> Json | None:
        """Return the pod `name`; None if there is none."""
        response = self._answer(
            "get", self._core().read_namespaced_pod, name, self.namespace, missing=None, _preload_content=False
        )
        return None if response is None else answer_of(response)

    def log_tail(self, pod: str, lines: int, *, previous: bool = False) -> list[str]:
        """Return the last lines that the training container of `pod`, or the one before it, wrote."""
        options = {"container": self.backend.container, "tail_lines": lines, "previous": previous}
        response = self._answer(
            "read", self._core().read_namespaced_pod_log, pod, self.namespace, _preload_content=False, **options
        )
        result: list[str] = response.data.decode(errors="replace").splitlines()
        return result

    def log_stream(self, pod: str, since_seconds: int | None) -> Iterator[str]:
        """Yield lines that the training container of `pod` writes, each with its time before it, until it ends."""
        from kubernetes.watch.watch import iter_resp_lines

        options = {} if since_seconds is None else {"since_seconds": since_seconds}
        response = self._core().read_namespaced_pod_log(
            *(pod, self.namespace),
            container=self.backend.container,
            follow=True,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(CONNECT_SECONDS, None),
            **options,
        )
        try:
            yield from iter_resp_lines(response)
        finally:
            response.close()

    def _kind(self) -> tuple[str, str, str, str]:
        return self.backend.group, self.backend.version, self.namespace, self.backend.plural

    def _jobs(self) -> Any:
        from kubernetes import client

        return client.CustomObjectsApi(self.api)

    def _core(self) -> Any:
        from kubernetes import client

        return client.CoreV1Api(self.api)

    def _answer(self, verb: str, call: Any, *arguments: Any, **options: Any) -> Any:
        """Return what `call` gives.

        For 404 return `missing`, for 409 `existing`, for a kind that the server does not know `unknown`, if given.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        instead = {code: options.pop(key) for code, key in ((404, "missing"), (409, "existing")) if key in options}
        if_unknown = [options.pop("unknown")] if "unknown" in options else []
        options.setdefault("_request_timeout", (CONNECT_SECONDS, READ_SECONDS))
        try:
            return call(*arguments, **options)
        except ApiException as error:
            if error.status in instead and not _is_unknown_kind(error):
                return instead[error.status]
            if if_unknown and _is_unknown_kind(error):
                return if_unknown[0]
            self.refused(verb, error)
        except HTTPError as error:
            raise ClusterError(
                f"The Kubernetes API server does not answer ({type(error).__name__}); a training job that runs goes on "
                "without it, and this step takes it up again when it is repeated."
            ) from None

    def refused(self, verb: str, error: Any) -> NoReturn:
        """Say what the API server's refusal means."""
        what, said = f"{self.backend.plural}.{self.backend.group}", _message(error)
        if error.status == 401:
            said = "its credentials are not accepted: look at KUBECONFIG, or at the pod's service account"
        elif error.status == 403 and "cannot" in said:  # others are quotas' and webhooks', who give their reasons
            said = (
                f"this service account may not {verb} {what}, pods, logs, events or workloads in namespace "
                f"{self.namespace}: bind it to the Role in k8s/base"
            )
        elif error.status == 403 and "quota" in said:
            said += " (wait for other jobs to end, or have the ResourceQuota raised)"
        elif error.status in (400, 403, 422) and "untime" in said and self.backend.kind == "TrainJob":
            said += " (an administrator applies k8s/trainer once; training.runtime names another runtime)"
        elif error.status == 404 and said.startswith("namespaces "):
            said = (
                f"there is no namespace {self.namespace}: create it (docs/install.md), or set namespace in the "
                "cluster file"
            )
        elif error.status == 404:
            said = f"it has no {what}, or no namespace {self.namespace}: install the operator, or set training_backend"
        raise ClusterError(f"The Kubernetes API server refused ({error.status}): {said}.") from None


def _message(error: Any) -> str:
    """Return the server's own words."""
    try:
        return str(json_or_none(error.body)["message"]).rstrip(".")
    except (KeyError, TypeError):
        return str(error.reason)


def _is_unknown_kind(error: Any) -> bool:
    """Return True if 404 means that the server does not know the kind of object, rather than this object."""
    return error.status == 404 and "page not found" in str(error.body)
