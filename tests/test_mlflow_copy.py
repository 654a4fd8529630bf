"""A copy of a run's metrics on MLflow: on a stand-in, and on a real server where `mlflow` is installed."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3
from mlflow_server import MlflowServer, serving

from oaml_core import mlflow_copy
from oaml_core.config import Config, TrackingConfig
from oaml_core.embedded_s3 import free_port
from oaml_core.post_json import request_json
from oaml_core.tracking import Tracker, read_metrics

CONFIG = Config(name="night", tracking=TrackingConfig(wandb="off", project="faces"))
MLFLOW = os.environ.get("OAML_TEST_MLFLOW") or shutil.which("mlflow")
"""The command of MLflow, perhaps of an environment of its own."""


@pytest.fixture(params=["stand-in", "real"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server that the environment names."""
    if request.param == "stand-in":
        with serving(MlflowServer()) as found:
            monkeypatch.setenv(mlflow_copy.ADDRESS, found)
            yield found
        return
    if MLFLOW is None:
        pytest.skip("no mlflow here: install it, or name the command of another environment in OAML_TEST_MLFLOW")
    port = free_port()
    database, files = f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "artifacts")
    words = [MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", database, "--artifacts-destination", files]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    alone = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(words, cwd=tmp_path, env=alone, start_new_session=True, **quiet)
    try:
        found = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 600
        while True:
            try:
                if urllib3.request("GET", f"{found}/health", retries=False, timeout=30).status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                assert time.monotonic() < deadline, "the server does not begin"
                time.sleep(0.5)
        monkeypatch.setenv(mlflow_copy.ADDRESS, found)
        yield found
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # it begins processes of its own
        server.wait()


def ask(address: str, method: str, call: str, content: dict) -> dict:
    return json.loads(request_json(method, f"{address}/api/2.0/mlflow/{call}", content)[1])


def runs_on(address: str) -> list[dict]:
    named = ask(address, "GET", "experiments/get-by-name", {"experiment_name": "faces"})
    place = named["experiment"]["experiment_id"]
    wanted = {"experiment_ids": [place], "filter": "tags.`oaml.run_id` = '2026-01-31-ab'"}
    return ask(address, "POST", "runs/search", wanted).get("runs", [])


def test_a_resumed_run_is_one_run_with_each_step_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_copy, "SECONDS", 0.0)
    first = Tracker(CONFIG, tmp_path, run_id="2026-01-31-ab")
    for step in range(4):
        first.log(step, {"loss": float(step), "val/acc": float("nan")})
    # Killed here: what was sent is there, and the run is still going on.
    again = Tracker(CONFIG, tmp_path, 2, run_id="2026-01-31-ab")
    for step in range(2, 6):
        again.log(step, {"loss": float(step)})
    again.close()
    (run,) = runs_on(address)
    assert run["info"]["status"] == "FINISHED"
    assert run["info"]["run_name"] == "night 2026-01-31"
    assert {each["key"]: each["step"] for each in run["data"]["metrics"]}["loss"] in (5, "5")
    assert {"key": "optim.lr", "value": str(CONFIG.optim.lr)} in run["data"]["params"]
    history = ask(address, "GET", "metrics/get-history", {"run_id": run["info"]["run_id"], "metric_key": "loss"})
    assert [int(each["step"]) for each in history["metrics"]] == list(range(6))


def test_each_step_arrives_once_and_in_bounded_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = MlflowServer()
    with serving(server) as address:
        monkeypatch.setenv(mlflow_copy.ADDRESS, address)
        tracker = Tracker(CONFIG, tmp_path)
        for step in range(2100):
            tracker.log(step, {"loss": float(step)})
        assert len(server.history) == 2000, "full requests are sent, the rest waits"
        tracker.close()
    assert [step for _, _, step, _ in server.history] == list(range(2100))


def test_a_server_that_refuses_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mlflow_copy, "SECONDS", 0.0)
    server = MlflowServer()
    with serving(server) as address:
        monkeypatch.setenv(mlflow_copy.ADDRESS, address)
        tracker = Tracker(CONFIG, tmp_path)
        tracker.log(0, {"loss": 1.0})
        server.refuses = 403
        with caplog.at_level(logging.WARNING):
            tracker.log(1, {"loss": 1.0})
            tracker.log(2, {"loss": 1.0})
            tracker.close()
        assert caplog.text.count("MLflow may lack steps up to 1 and lacks later ones") == 1
        with caplog.at_level(logging.WARNING):
            Tracker(CONFIG, tmp_path / "another").close()
        assert "MLflow is off for this run: the server refused experiments/get-by-name (403)" in caplog.text
    assert [step for step, _, _ in read_metrics(tmp_path / "metrics.csv")] == [0, 1, 2]


@pytest.mark.parametrize(("value", "goes"), [("auto", True), ("off", False)])
def test_credentials_are_sent_and_nothing_where_it_is_off(
    value: str, goes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MlflowServer()
    with serving(server) as address:
        monkeypatch.setenv(mlflow_copy.ADDRESS, address)
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a token")
        config = replace(CONFIG, tracking=replace(CONFIG.tracking, mlflow=value))
        Tracker(config, tmp_path).close()
    assert server.authorisations == ({"Bearer a token"} if goes else set())


@pytest.mark.parametrize("elsewhere", ["", "sqlite:///mlflow.db", "./mlruns", "databricks"])
def test_other_places_of_its_client_are_not_servers(
    elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(mlflow_copy.ADDRESS, elsewhere)
    Tracker(CONFIG, tmp_path).close()
    assert "MLflow" not in caplog.text
