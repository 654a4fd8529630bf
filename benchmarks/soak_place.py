"""Where a soak's trainings live: stores, work folder, a server that can be killed and a line to it that can be slow."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from oaml_core import stages
from oaml_core.config import Config
from oaml_core.embedded_s3 import embedded_s3
from oaml_core.processes import die_with_parent
from oaml_core.settings import load_config

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "store"))
from relay import Relay, relay

RECIPE = """
name: soak
data:
  batch_size: 8
  synthetic_identities: 16
  synthetic_images_per_identity: 6
  synthetic_pairs: 20
model: {arch: ir_mini, width: 8, m: 0.4, h: 0.333}
optim: {epochs: 4, lr: 0.05}
train: {nproc: 2, checkpoint_every_steps: 2, log_every_steps: 1, log_samples: true, max_restarts: 1000}
evaluate: {batch_size: 10, occluders: [surgical], block_shares: [], sides: [second]}
tracking: {wandb: 'off'}
"""
BUCKET = "soak"
MARK = "OAML_SOAK_MARK"
"""Variable in the environment of every process of a soak, by which its processes are told from all others."""


class SoakPlace:
    """Folders, stores and processes of a soak.

    Args:
        root: an empty folder.

    Attributes:
        wire: passes connections to the S3 server on.
    """

    def __init__(self, root: Path, server: ExitStack, wire: Relay, variables: dict[str, str]) -> None:
        self.root, self.wire = root, wire
        self.work, self.folder, self.served, self.temporary = (
            root / name for name in ("work", "store", "served", "tmp")
        )
        self.temporary.mkdir()
        self.recipe = root / "recipe.yaml"
        self.recipe.write_text(RECIPE)
        self._server, self._variables = server, variables
        self._port = urlsplit(variables["OAML_S3_ENDPOINT"]).port
        self.mark = secrets.token_hex(8)
        clients = variables | {"OAML_S3_ENDPOINT": f"http://127.0.0.1:{wire.port}"}
        os.environ.update(clients)
        self.environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary), MARK: self.mark}
        self.datasets = {store: stages.prepare(self.configured(store)).dataset_uri for store in ("folder", "s3")}

    def store(self, kind: str) -> str:
        """Return the address of the store `folder` or `s3`."""
        return f"s3://{BUCKET}" if kind == "s3" else str(self.folder)

    def _options(self, kind: str) -> list[str]:
        return ["--store", self.store(kind), "--work_dir", str(self.work)]

    def configured(self, kind: str, *options: str) -> Config:
        """Return the configuration of a training with the store `kind`."""
        return load_config(self.recipe, [*self._options(kind), *options])

    def prefix(self, kind: str, *options: str) -> str:
        """Return where the run with these options is, in the store and below the work folder."""
        return stages.run_prefix(self.configured(kind, *options), self.datasets[kind])

    def start(self, kind: str, *options: str) -> Launched:
        """Start `oaml train`."""
        command = [sys.executable, "-m", "oaml_core.cli", "train", "--config", str(self.recipe), *self._options(kind)]
        return Launched([*command, "--dataset", self.datasets[kind], *options], self.environment)

    def processes(self) -> list[psutil.Process]:
        """Return every live process that a training of this soak has started, wherever it hangs by now."""
        return [process for process in psutil.process_iter() if self._is_own(process)]

    def _is_own(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error):
            return process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE
        return False

    def kill_server(self, seconds: float) -> None:
        """Kill the S3 server, and start it again on the same port after some seconds."""
        for process in psutil.Process().children():
            with suppress(psutil.Error):
                if f"127.0.0.1:{self._port}" in process.cmdline():
                    process.kill()
        self._server.close()
        time.sleep(seconds)
        keys = self._variables["AWS_ACCESS_KEY_ID"], self._variables["AWS_SECRET_ACCESS_KEY"]
        self._server.enter_context(embedded_s3(self.served, self._port, keys))

    def fill_disk(self, seconds: float, most: int) -> None:
        """Let no process of a training write files beyond `most` bytes for some seconds, as on a disk that is full."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:  # processes that start meanwhile inherit it, or are found
            self._limit(most)
            time.sleep(0.1)
        while self._limit(resource.RLIM_INFINITY):
            time.sleep(0.05)

    def _limit(self, most: int) -> int:
        """Limit the size of files that the processes write; the number of processes that had another limit."""
        changed = 0
        for process in self.processes():
            with suppress(psutil.Error, OSError):
                now, hard = process.rlimit(psutil.RLIMIT_FSIZE)
                if now != most:
                    process.rlimit(psutil.RLIMIT_FSIZE, (most, hard))
                    changed += 1
        return changed


class Launched:
    """A started `oaml train`, and what it says.

    Args:
        command, environment: of the process.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.began = time.monotonic()
        self.said: list[str] = []
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def code(self) -> int | None:
        """Return the exit code; None while it runs."""
        return self.process.poll()

    def agent(self) -> psutil.Process | None:
        """Return torchrun's process, if it is there."""
        return self._running("oaml_core.training.agent")

    def fork_server(self) -> psutil.Process | None:
        """Return the process that forks workers, if it is there."""
        return self._running("oaml_core.training.fork_server")

    def _running(self, module: str) -> psutil.Process | None:
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children():
                if module in child.cmdline():
                    return child
        return None

    def workers(self) -> list[psutil.Process]:
        """Return the training workers that are there: forked by the server or, without one, started by the agent."""
        parent = self.fork_server() or self.agent()
        with suppress(psutil.Error):
            return [] if parent is None else [one for one in parent.children() if _trains(one)]
        return []

    def loaders(self) -> list[psutil.Process]:
        """Return the processes that decode images for the workers."""
        found = []
        for worker in self.workers():
            with suppress(psutil.Error):
                found += worker.children()
        return found

    def end(self) -> str:
        """Wait for what it said last, and return all."""
        self.process.wait()
        self._reader.join(10)
        return "".join(self.said)

    def ask_to_end(self) -> None:
        """Ask for an orderly end."""
        self.process.send_signal(signal.SIGTERM)


def _trains(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "oaml_core.training.worker" in process.cmdline()
    return False


@contextmanager
def place(root: Path) -> Iterator[SoakPlace]:
    """Give a place below the empty folder `root`; its processes and its server end with the block."""
    before = dict(os.environ)
    with ExitStack() as server:
        variables = server.enter_context(embedded_s3(root / "served"))
        (root / "served" / BUCKET).mkdir()
        with relay(urlsplit(variables["OAML_S3_ENDPOINT"]).port or 0) as wire:
            made = None
            try:
                made = SoakPlace(root, server, wire, variables)
                yield made
            finally:
                for process in made.processes() if made is not None else []:
                    with suppress(psutil.Error):
                        process.kill()
                os.environ.clear()
                os.environ.update(before)
