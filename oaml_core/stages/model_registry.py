"""Enters promoted models into Kubeflow's Model Registry, where one is configured (REST interface v1alpha3).

A registered model per run name, a version per promoted model, and the ONNX file as its artifact. Production never
waits for the registry: what could not be entered is entered on the next night that finds the model in production.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from oaml_core.config import Config
from oaml_core.errors import ConfigError
from oaml_core.folder_entries import shown
from oaml_core.notify import webhook
from oaml_core.structured_text import json_or_none
from oaml_core.web_addresses import web_address

log = logging.getLogger(__name__)

REGISTRY, TOKEN = "OAML_MODEL_REGISTRY", "OAML_MODEL_REGISTRY_TOKEN"
"""Environment variables: address of the registry, such as `http://model-registry-service.kubeflow.svc:8080`, and a
bearer token where it wants one."""
ROOT = "/api/model_registry/v1alpha3"
TRIES = 3
BUSY = (429, 502, 503, 504)
Json = dict[str, Any]


class RegistryError(Exception):
    """The registry cannot be reached, or refuses."""


def enter_version(config: Config, record: Mapping[str, Any], measured: Mapping[str, Any], reason: str = "") -> bool:
    """Enter a promoted model, unless it is there already; a registry that fails is reported, and stops nothing.

    Args:
        config: names the registered model.
        record: of the version, as `models/<version>.json` has it.
        measured: its `metrics.json`: headline and context become properties of the version.
        reason: of the promotion.

    Returns:
        True if the registry has the version now.
    """
    try:
        if not (address := registry_address()):
            return False
        _enter(_Registry(address), config, record, measured, reason)
    except (RegistryError, ConfigError) as error:
        log.warning("promote: %s is not in the model registry: %s", record["version"], error)
        return False
    return True


def archive_version(config: Config, withdrawn: str, restored: str) -> bool:
    """Mark a version that was rolled back as archived, and the one that is back as live, where the registry has them.

    Args:
        config: names the registered model.
        withdrawn: version that left production.
        restored: version that is in production again.

    Returns:
        True if the registry knew both.
    """
    try:
        if not (address := registry_address()):
            return False
        registry = _Registry(address)
        model = registry.find("registered_model", name=config.name)
        found = [
            (registry.find("model_version", name=name, parentResourceId=model["id"]) if model else None, state)
            for name, state in ((withdrawn, "ARCHIVED"), (restored, "LIVE"))
        ]
        for version, state in found:
            if version is not None:
                registry.change(f"model_versions/{version['id']}", {"state": state})
    except (RegistryError, ConfigError) as error:
        log.warning("rollback: the model registry was not told: %s", error)
        return False
    return all(version is not None for version, _ in found)


def check_addresses() -> None:
    """Raise ConfigError if this registry or the webhook has an address that cannot be: said before a night's work."""
    registry_address()
    webhook()


def registry_address() -> str:
    """Return the registry's address; empty: none is configured. Raises ConfigError: it is no address."""
    address = os.environ.get(REGISTRY, "").rstrip("/")
    return web_address(address, REGISTRY, "http://model-registry-service.kubeflow.svc:8080").geturl() if address else ""


def _enter(
    registry: _Registry, config: Config, record: Mapping[str, Any], measured: Mapping[str, Any], reason: str
) -> None:
    name, version_name, uri = config.name, record["version"], record["model_uri"]
    model = registry.find("registered_model", name=name) or registry.make(
        "registered_models",
        {"name": name, "description": "Face recognition for covered faces (OAML).", "state": "LIVE"},
    )
    version = registry.find("model_version", name=version_name, parentResourceId=model["id"]) or registry.make(
        "model_versions",
        {
            "name": version_name,
            "registeredModelId": model["id"],
            "description": reason,
            "state": "LIVE",
            "customProperties": _properties(record, measured),
        },
    )
    path = f"model_versions/{version['id']}/artifacts"
    if any(each.get("uri") == uri for each in registry.listed(path)):
        return
    registry.make(
        path,
        {
            "artifactType": "model-artifact",
            "name": f"{name}-{version_name}",
            "uri": uri,
            "modelFormatName": "onnx",
            "modelFormatVersion": "1",
            "state": "LIVE",
        },
    )
    log.info("promote: version %s is in the model registry as %s", version_name, name)


def _properties(record: Mapping[str, Any], measured: Mapping[str, Any]) -> Json:
    """Return lineage and accuracies in the registry's form of values."""
    card = record["model_uri"].rpartition("/")[0] + "/MODEL_CARD.md"
    said: Json = {
        "metrics_uri": record["metrics_uri"],
        "model_card_uri": card,
        "promoted_at": record.get("promoted_at", ""),
        "previous": record.get("previous") or "",
        **{key: value for key, value in measured.get("context", {}).items() if isinstance(value, str)},
        **measured.get("headline", {}),
    }
    return {key: made for key, value in said.items() if (made := _value(value)) is not None}


def _value(value: object) -> Json | None:
    """Return a finite number or a text as a MetadataValue; None for anything else, and for nothing."""
    if isinstance(value, bool) or value is None or value == "":
        return None
    if isinstance(value, int | float):
        finite = math.isfinite(value)
        return {"metadataType": "MetadataDoubleValue", "double_value": float(value)} if finite else None
    return {"metadataType": "MetadataStringValue", "string_value": value} if isinstance(value, str) else None


class _Registry:
    """A registry that answers; all calls raise RegistryError where it does not."""

    def __init__(self, address: str) -> None:
        import urllib3

        self._address = address + ROOT
        # A request that makes something is not repeated: it may have been heard.
        retries = urllib3.Retry(total=TRIES, backoff_factor=0.5, allowed_methods=["GET"], status_forcelist=BUSY)
        self._pool = urllib3.PoolManager(retries=retries, timeout=urllib3.Timeout(connect=5, read=30))
        token = os.environ.get(TOKEN)
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def find(self, kind: str, **query: str) -> Json | None:
        """Return the one thing of that name; None if there is none."""
        return self._asked("GET", f"{kind}?{urlencode(query)}", missing=True)

    def listed(self, path: str) -> list[Json]:
        """Return all things of a list."""
        found: list[Json] = []
        page = ""
        while True:
            query = urlencode({"pageSize": "100"} | ({"nextPageToken": page} if page else {}))
            answer = self._asked("GET", f"{path}?{query}") or {}
            found += answer.get("items") or []
            if not (page := answer.get("nextPageToken") or ""):
                return found

    def make(self, path: str, content: Json) -> Json:
        """Make one thing."""
        return self._asked("POST", path, content) or {}

    def change(self, path: str, content: Json) -> None:
        """Change some fields of a thing."""
        self._asked("PATCH", path, content)

    def _asked(self, method: str, path: str, content: Json | None = None, *, missing: bool = False) -> Json | None:
        import urllib3

        body = None if content is None else json.dumps(content)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        what = f"{method} {path.partition('?')[0]}"
        try:
            answer = self._pool.request(method, f"{self._address}/{path}", body=body, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise RegistryError(f"it does not answer ({type(error).__name__}). Check {REGISTRY}.") from None
        if missing and answer.status == 404:
            return None
        said = json_or_none(answer.data)
        if answer.status >= 300:
            reason = str(said.get("message", "")) if isinstance(said, dict) else ""
            hint = f" Set {TOKEN}." if answer.status in (401, 403) else ""
            raise RegistryError(f"{what}: it refused ({answer.status}) {shown(reason)}".rstrip(" .") + f".{hint}")
        if not isinstance(said, dict):
            raise RegistryError(f"{what}: the answer ({answer.status}) is no JSON object. Check {REGISTRY}.")
        return said
