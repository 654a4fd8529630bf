"""Pods of a training job as processes of this machine, with the environment that the controllers give them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from operator_part import OperatorPart

REPO = Path(__file__).parents[3]
EVICTED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}


@dataclass
class Pod:
    """A pod, and its process once a node has room for it."""

    name: str
    process: subprocess.Popen[str] | None = None
    reason: str = "Error"
    """Word of the kubelet for the end of its container, if that is not well."""
    disrupted: bool = False
    is_deleted: bool = False
    """True for a pod that goes once it has ended."""


@dataclass
class PodProcesses:
    """Plays the nodes and the job's controllers: as many pods as the job asks for wait until a node has room for them;
    when a pod has ended, the job's own policies say whether it is made again, or how the job ends.

    Args:
        secrets: environment variables that the Secrets hold.
        folder: each pod has an empty folder of its own in it.
    """

    operator: OperatorPart
    job: dict[str, Any]
    secrets: dict[str, str]
    folder: Path
    endpoint: str = field(init=False)
    lines: dict[int, list[str]] = field(default_factory=dict)
    """Lines that the pods of each number wrote, one after another."""
    pods: dict[int, Pod] = field(default_factory=dict)
    """The pods that are there, by their number."""
    _room: set[int] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        for number in range(self.operator.replicas(self.job)):
            self._make(number)
        self.operator.set_condition(self.job, "Created")

    def give_room(self, number: int) -> None:
        """A node has room for a pod from now on: it starts."""
        with self._lock:
            self._room.add(number)
            self._start(number)

    def kill(self, number: int, reason: str) -> None:
        """End all processes of a pod, as the kernel would."""
        self.pods[number].reason = reason
        _kill(self._process(number))

    def evict(self, number: int) -> None:
        """Take a pod away from its node, which has no room for another, and give it time to end."""
        with self._lock:
            self._room.discard(number)
            self.pods[number].disrupted = True
            self.operator.set_pod(self.pods[number].name, conditions=[EVICTED])
            self._ask_to_end(number)

    def scale(self, replicas: int) -> None:
        """Change the number of pods that the job asks for: those beyond it are asked to end, missing ones are made."""
        with self._lock:
            self.job = self.operator.scale(self.job, replicas)
            for number in [each for each in self.pods if each >= replicas]:
                self._ask_to_end(number)
            for number in set(range(replicas)) - set(self.pods):
                self._make(number)

    def wait(self, seconds: float) -> bool:
        """Return True if the job ended in this time."""
        return self._over.wait(seconds)

    def end(self) -> None:
        """End what runs, as after the job was deleted, and wait until it has ended."""
        self._over.set()
        running = [pod.process for pod in self.pods.values() if pod.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            process.wait(300)

    def text(self) -> str:
        """Everything that the pods wrote."""
        return "\n".join(f"{number}: {line}" for number, lines in self.lines.items() for line in lines)

    def folders(self, path: str) -> list[Path]:
        """What all pods so far have at this path of their folders."""
        return list(self.folder.glob(f"*/{path}"))

    def _ask_to_end(self, number: int) -> None:
        self.pods[number].is_deleted = True
        self.operator.ask_to_end(self.pods[number].name)
        self._process(number).terminate()

    def _make(self, number: int) -> None:
        self.pods[number] = Pod(self.operator.create_pod(self.job, number))
        if number in self._room:
            self._start(number)

    def _process(self, number: int) -> subprocess.Popen[str]:
        process = self.pods[number].process
        assert process is not None, f"pod {number} waits for a node"
        return process

    def _start(self, number: int) -> None:
        pod, container = self.pods[number], self.operator.container_of(self.job)
        folder = self.folder / f"{len(self.folders('')):02d}-{pod.name}"  # what the pod before it had is lost
        folder.mkdir(parents=True)
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        words = [_in_folder(word, mounted, folder) for word in container["args"]]
        pod.process = subprocess.Popen(
            [sys.executable, "-m", "oaml_core.cli", *words],
            cwd=folder,
            env=self._environment(container),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.operator.set_container(pod.name, {"running": {}}, phase="Running")
        self.operator.set_condition(self.job, "Running")
        threading.Thread(target=self._attend, args=(number, pod, pod.process), daemon=True).start()

    def _environment(self, container: dict[str, Any]) -> dict[str, str]:
        plain = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        named = {each["name"] for each in container["env"] if "valueFrom" in each}
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPO),
            **plain,
            **{name: value for name, value in self.secrets.items() if name in named},
            **self.operator.told(self.job, self.endpoint),
        }

    def _attend(self, number: int, pod: Pod, process: subprocess.Popen[str]) -> None:
        """Pass on what the container writes; when it has ended, do what the kubelet and the controllers would."""
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.setdefault(number, []).append(line.rstrip("\n"))
            self.operator.logs.write(pod.name, self.operator.container, line.rstrip("\n"))
        code = process.wait()
        with self._lock:
            if self._over.is_set():
                return
            code = 128 - code if code < 0 else code
            self.operator.end_container(pod.name, code, "Completed" if code == 0 else pod.reason)
            answer = self.operator.answer(self.job, code, pod.disrupted)
            if answer != "again":
                self._over.set()
                if self.operator.ends_others(self.job):
                    self._end_others(pod)
                self.operator.set_condition(self.job, "Succeeded" if answer == "succeeded" else "Failed")
                return
            self.operator.set_condition(self.job, "Restarting")
            (self.operator.delete_pod if pod.is_deleted else self.operator.put_aside)(pod.name)
            del self.pods[number]
            if number < self.operator.replicas(self.job):
                self._make(number)
            if any(each.process is not None for each in self.pods.values()):
                self.operator.set_condition(self.job, "Running")

    def _end_others(self, ended: Pod) -> None:
        """As the controllers do with pods that run when the job ends: they are asked, and given time."""
        others = [pod for pod in self.pods.values() if pod is not ended and pod.process is not None]
        for pod in others:
            if pod.process is not None:
                pod.process.terminate()
                pod.process.wait(300)


def _in_folder(word: str, mounted: Collection[str], folder: Path) -> str:
    """Return an argument `option=value`; where the value is a volume's path, with a folder of the pod's own for it."""
    option, _, value = word.partition("=")
    return f"{option}={folder}{value}" if value in mounted else word


def _kill(process: subprocess.Popen[str]) -> None:
    tree = psutil.Process(process.pid).children(recursive=True)
    for each in [process, *tree]:
        with suppress(psutil.NoSuchProcess):  # workers end with their launcher
            each.send_signal(signal.SIGKILL)
    process.wait()


def is_listening(endpoint: str) -> bool:
    """Whether somebody listens at `host:port`."""
    host, _, port = endpoint.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
