"""Pods of a PyTorchJob as processes of this machine, with the environment that the training operator gives them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from operator_part import OperatorPart

REPO = Path(__file__).parents[3]


@dataclass
class PodProcesses:
    """Starts what the pods of `job` run.

    Args:
        secrets: environment variables that the Secrets hold.
        folder: each pod has a folder of its own in it.
    """

    operator: OperatorPart
    job: dict[str, Any]
    secrets: dict[str, str]
    folder: Path
    endpoint: str = field(init=False)
    lines: dict[str, list[str]] = field(default_factory=dict)
    """What each pod wrote, by its name."""

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.endpoint = f"127.0.0.1:{taken.getsockname()[1]}"

    def start(self, number: int) -> subprocess.Popen[str]:
        """The pod of one worker, which runs and writes its log, and ends as its process does."""
        name = self.operator.create_pod(self.job, number)
        container = self.job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "oaml_core.cli", *container["args"]],
            cwd=folder,
            env=self._environment(container),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.operator.set_container(name, {"running": {}}, phase="Running")
        threading.Thread(target=self._pass_on, args=(name, process), daemon=True).start()
        return process

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        """As pkg/controller.v1/pytorch/elastic.go of training-operator 1.9 sets it, for a rendezvous on loopback."""
        elastic = self.job["spec"]["elasticPolicy"]
        plain = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        named = {each["name"] for each in container["env"] if "valueFrom" in each}
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO),
            **plain,
            **{name: value for name, value in self.secrets.items() if name in named},
            "PET_RDZV_ENDPOINT": self.endpoint,
            "PET_RDZV_BACKEND": elastic["rdzvBackend"],
            "PET_RDZV_ID": elastic["rdzvId"],
            "PET_RDZV_CONF": ",".join(f"{each['key']}={each['value']}" for each in elastic["rdzvConf"]),
            "PET_NNODES": f"{elastic['minReplicas']}:{elastic['maxReplicas']}",
            "PET_MAX_RESTARTS": str(elastic["maxRestarts"]),
            "PET_NPROC_PER_NODE": self.job["spec"]["nprocPerNode"],
        }

    def _pass_on(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.setdefault(name, []).append(line.rstrip("\n"))
            self.operator.logs.write(name, "pytorch", line.rstrip("\n"))
        self.operator.logs.end(name, "pytorch")

    def text(self) -> str:
        """All of it."""
        return "\n".join(f"{name}: {line}" for name, lines in self.lines.items() for line in lines)


def kill(process: subprocess.Popen[str]) -> None:
    """End a pod's process and all that descends from it, as the kernel would."""
    tree = psutil.Process(process.pid).children(recursive=True)
    for each in [process, *tree]:
        with suppress(psutil.NoSuchProcess):  # workers end with their launcher
            each.kill()
    process.wait()


def is_listening(endpoint: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = endpoint.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
