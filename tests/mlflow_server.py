"""A stand-in for MLflow's server: what its REST interface 2.0 keeps of runs, with its limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]
PREFIX = "/api/2.0/mlflow/"


@dataclass
class MlflowServer:
    """Experiments and runs; `serving` gives one an address."""

    experiments: dict[str, str] = field(default_factory=dict)
    """Ids by name."""
    runs: dict[str, Json] = field(default_factory=dict)
    history: list[tuple[str, str, int, Any]] = field(default_factory=list)
    """Run, metric, step and value, as they came."""
    refuses: int = 0
    """Status of all answers; 0: they are as they should be."""
    authorisations: set[str | None] = field(default_factory=set)

    def answer(self, call: str, given: Json) -> tuple[int, Json]:
        if self.refuses:
            return self.refuses, {"error_code": "INTERNAL_ERROR"}
        return getattr(self, "_" + call.replace("/", "_").replace("-", "_"))(given)

    def _experiments_get_by_name(self, given: Json) -> tuple[int, Json]:
        known = self.experiments.get(given["experiment_name"])
        if known is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        return 200, {"experiment": {"experiment_id": known, "name": given["experiment_name"]}}

    def _experiments_create(self, given: Json) -> tuple[int, Json]:
        if given["name"] in self.experiments:
            return 400, {"error_code": "RESOURCE_ALREADY_EXISTS"}
        self.experiments[given["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[given["name"]]}

    def _runs_search(self, given: Json) -> tuple[int, Json]:
        name, _, value = given["filter"].partition(" = ")
        wanted = {"key": name.removeprefix("tags.").strip("`"), "value": value.strip("'")}
        found = [run for run in self.runs.values() if wanted in run["data"]["tags"]]
        return 200, {"runs": found} if found else {}

    def _runs_create(self, given: Json) -> tuple[int, Json]:
        name = f"{len(self.runs):032x}"
        info = {"run_id": name, "run_name": given["run_name"], "status": "RUNNING"}
        self.runs[name] = {"info": info, "data": {"tags": given["tags"], "metrics": [], "params": []}}
        return 200, {"run": self.runs[name]}

    def _runs_update(self, given: Json) -> tuple[int, Json]:
        self.runs[given["run_id"]]["info"]["status"] = given["status"]
        return 200, {"run_info": self.runs[given["run_id"]]["info"]}

    def _runs_log_batch(self, given: Json) -> tuple[int, Json]:
        metrics, params = given.get("metrics", []), given.get("params", [])
        data = self.runs[given["run_id"]]["data"]
        known = {each["key"]: each["value"] for each in data["params"]}
        too_many = len(metrics) > 1000 or len(params) > 100 or any(len(each["value"]) > 500 for each in params)
        if too_many or any(known.get(each["key"], each["value"]) != each["value"] for each in params):
            return 400, {"error_code": "INVALID_PARAMETER_VALUE"}
        data["params"] += params
        for each in metrics:
            self.history.append((given["run_id"], each["key"], each["step"], each["value"]))
            data["metrics"] = [m for m in data["metrics"] if m["key"] != each["key"]] + [each]
        return 200, {}

    def _metrics_get_history(self, given: Json) -> tuple[int, Json]:
        rows = [row for row in self.history if row[:2] == (given["run_id"], given["metric_key"])]
        return 200, {"metrics": [{"key": key, "step": step, "value": value} for _, key, step, value in rows]}


@contextmanager
def serving(server: MlflowServer) -> Iterator[str]:
    """Serve on loopback, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.authorisations.add(self.headers.get("Authorization"))
            status, answer = server.answer(
                url.path.removeprefix(PREFIX), json.loads(body) if body else dict(parse_qsl(url.query))
            )
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle

        def log_message(self, *_: object) -> None:
            """Nothing: tests have their own output."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
