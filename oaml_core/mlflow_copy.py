"""A copy of a run's metrics on an MLflow server, by its REST interface 2.0 and without its package."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any

from oaml_core.errors import StoreError
from oaml_core.post_json import NotReached, request_json
from oaml_core.structured_text import parse_json
from oaml_core.web_addresses import web_address

ADDRESS = "MLFLOW_TRACKING_URI"
"""Environment variables are those of MLflow's own client."""
OF_RUN = "oaml.run_id"
"""Tag by which a resumed run finds its copy."""
MOST_METRICS, MOST_PARAMETERS, LONGEST_VALUE = 1000, 100, 500
"""Limits of a request (https://mlflow.org/docs/latest/rest-api.html, `log-batch`), and of a value in older servers."""
SECONDS = 10.0
"""Time after which metrics are sent, though there are few."""
UNKNOWN = 404
REMEDY = f"See {ADDRESS}."


class MlflowCopy:
    """A run on an MLflow server; a resumed one continues, and each step stands there once.

    Args:
        address: `http://` or `https://` of the server.
        experiment: name, made if there is none.
        name: of the run, as shown.
        run_id: ours; the copy carries it as a tag.
        parameters: keys of the configuration and their values.

    Raises:
        ConfigError: the address cannot be. OSError, StoreError: the server does not answer, or refuses.
    """

    def __init__(self, address: str, experiment: str, name: str, run_id: str, parameters: Mapping[str, Any]) -> None:
        web_address(address, ADDRESS, "http://mlflow.example.org:5000")
        self._address = address.rstrip("/")
        self._waiting: list[dict[str, Any]] = []
        self._sent = time.monotonic()
        place = self._experiment(experiment)
        query = {"experiment_ids": [place], "filter": f"tags.`{OF_RUN}` = '{run_id}'", "max_results": 1}
        found = (self._ask("POST", "runs/search", query).get("runs") or [None])[0]
        if found is None:
            tags = [{"key": OF_RUN, "value": run_id}]
            begun = {"experiment_id": place, "run_name": name, "start_time": _now(), "tags": tags}
            found = self._ask("POST", "runs/create", begun)["run"]
        self._run: str = found["info"]["run_id"]
        self._last = {each["key"]: int(each["step"]) for each in found.get("data", {}).get("metrics") or []}
        """Newest step of each metric that the server had when this process began."""
        self._ask("POST", "runs/update", {"run_id": self._run, "status": "RUNNING"})
        if not found.get("data", {}).get("params"):
            self._set(parameters)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take metrics, and send them when there are many or a while has passed; raises as the constructor does."""
        self._waiting += [
            {"key": name, "value": _number(value), "timestamp": _now(), "step": step}
            for name, value in values.items()
            if step > self._last.get(name, -1)
        ]
        if len(self._waiting) >= MOST_METRICS or time.monotonic() - self._sent >= SECONDS:
            self._send()

    def finish(self) -> None:
        """Send what waits, and end the run."""
        self._send()
        self._ask("POST", "runs/update", {"run_id": self._run, "status": "FINISHED", "end_time": _now()})

    def _send(self) -> None:
        self._sent = time.monotonic()
        while self._waiting:
            self._ask("POST", "runs/log-batch", {"run_id": self._run, "metrics": self._waiting[:MOST_METRICS]})
            del self._waiting[:MOST_METRICS]

    def _set(self, parameters: Mapping[str, Any]) -> None:
        told = [{"key": key, "value": str(value)[:LONGEST_VALUE]} for key, value in _flat(parameters)]
        for start in range(0, len(told), MOST_PARAMETERS):
            self._ask("POST", "runs/log-batch", {"run_id": self._run, "params": told[start : start + MOST_PARAMETERS]})

    def _experiment(self, name: str) -> str:
        known = self._ask("GET", "experiments/get-by-name", {"experiment_name": name}, missing=True)
        found = known.get("experiment") or self._ask("POST", "experiments/create", {"name": name})
        return str(found["experiment_id"])

    def _ask(self, method: str, call: str, content: Mapping[str, Any], *, missing: bool = False) -> dict[str, Any]:
        """Return the answer to a call; an empty one for 404 where something may be `missing`."""
        address = f"{self._address}/api/2.0/mlflow/{call}"
        certificates = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
        status, answer = request_json(method, address, content, _headers(), certificates)
        if status == UNKNOWN and missing:
            return {}
        if status != 200:
            raise NotReached(f"the server refused {call} ({status})")
        return parse_json(answer, f"The answer of MLflow to {call}", REMEDY, StoreError)


def _headers() -> dict[str, str]:
    import urllib3

    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        return {**urllib3.make_headers(basic_auth=f"{user}:{password}")}
    return {}


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Return the leaves of nested mappings under names with dots."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += _flat(value, f"{before}{key}.") if isinstance(value, Mapping) else [(f"{before}{key}", value)]
    return found


def _number(value: float) -> float | str:
    """Return a number as JSON of the interface has it: NaN and infinities are texts there."""
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _now() -> int:
    return time.time_ns() // 1_000_000
