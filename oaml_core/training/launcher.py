"""Starts the training workers of this machine with `torchrun`, and ends all of them with itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path

from oaml_core.config import Config
from oaml_core.errors import OamlError
from oaml_core.orderly_end import ASKING, Asked, Handled
from oaml_core.processes import die_with_parent
from oaml_core.settings import config_to_yaml
from oaml_core.store import open_store
from oaml_core.training.fork_server import fork_server
from oaml_core.training.meeting import (
    loopback_environment,
    loopback_listener,
    loopback_options,
    meeting_folder,
    temporary_environment,
)
from oaml_core.training.rejoin import ERROR_VARIABLE, run_and_rejoin
from oaml_core.training.run_lock import SHARED, RunLock, only_launcher, stopped_when_lost
from oaml_core.training.worker_entry import LAUNCHER_VARIABLE

RESULT = "result.json"
"""In the run's folder, and at last in the store: written by the main worker when training has come to its end."""
ERROR = "error.txt"
"""In the run's folder: written by a worker that restarting would not help."""
POLL_SECONDS = 0.25
"""Between two looks for it; torchrun takes longer to restart workers."""

GPU_DEVICES = ("nvidiactl", "nvidia-uvm", "nvmap", "nvhost-gpu", "nvgpu", "kfd", "dxg")
"""Devices that drivers make: NVIDIA's on servers and on Jetsons, AMD's, and that of Linux within Windows."""
PROBE_BYTES = 1 << 20
"""Written to see whether a disk is full."""


def launch(
    config: Config,
    dataset: Path,
    run_dir: Path,
    store_prefix: str,
    *,
    in_process: bool = False,
    worker: str = "oaml_core.training.worker",
) -> None:
    """Train with `torchrun`, or in this process; returns when the run has ended well.

    PET_* variables, which the training operator sets in the pods of an elastic job, win over the arguments that
    are built here, so that the same call serves one machine and a cluster.

    Args:
        config: the whole configuration.
        dataset: folder of the prepared data set.
        run_dir: folder of the run: configuration, log, metrics, checkpoints.
        store_prefix: the run's prefix in the artifact store.
        in_process: train in this process, alone.
        worker: module whose `train_as_worker` a worker runs.

    Raises:
        HeldError: somebody else trains this run, or has taken it over.
        OamlError: the workers failed more often than `train.max_restarts`; names the log.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with only_launcher(run_dir, open_store(config.store), store_prefix) as lock:
        recipe = run_dir / "config.yaml"
        recipe.write_text(config_to_yaml(config))
        if in_process:
            with stopped_when_lost(lock):
                _train_here(worker, config, dataset, run_dir, store_prefix)
            return
        work = [
            *("-m", "oaml_core.training.worker_entry", worker, "--config", str(recipe)),
            *("--dataset", str(dataset), "--run-dir", str(run_dir), "--store-prefix", store_prefix),
        ]
        _train_in_workers(work, config, lock)


def _train_in_workers(work: list[str], config: Config, lock: RunLock) -> None:
    """Run torchrun with the workers' command `work` to its end, and say how it ended if not well."""
    run_dir = lock.run_dir
    error = run_dir / ERROR
    error.unlink(missing_ok=True)
    failure = run_dir / "torchrun-failure.json"
    environment = _environment(config) | {ERROR_VARIABLE: str(failure.absolute())}

    def run() -> int:
        with meeting_folder() as meeting, loopback_listener() if is_alone() else nullcontext() as listener:
            options = _rendezvous(config, run_dir.name, listener)
            command = [sys.executable, "-m", "oaml_core.training.agent", *options, *work]
            met, inherited = temporary_environment(meeting), lock.descriptors
            if listener is not None:
                met, inherited = met | loopback_environment(listener), (*inherited, listener.fileno())
            return _run_to_end(command, environment | met, error, lock, inherited)

    with fork_server(work[2], environment) as variables:
        environment |= variables
        code = run_and_rejoin(run, failure)
    if error.exists():
        raise OamlError(error.read_text())
    for asked in ASKING:
        if code in (-asked, 128 + asked):
            raise Asked(128 + asked)
    if code != 0:
        raise OamlError(
            f"Training stopped with exit code {code}{_reason(run_dir)}. Its checkpoints are in "
            f"{run_dir / 'checkpoints'}: the same command goes on from the newest."
        )


def _reason(folder: Path) -> str:
    """Say why workers ended, where they may have been unable to: on a full disk not even PyTorch starts."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(PROBE_BYTES))
    except OSError as error:
        return f": {folder} takes no more ({error.strerror}). Free some of the disk, or raise its limits"
    return "; the reason stands above"


def _train_here(worker: str, config: Config, dataset: Path, run_dir: Path, store_prefix: str) -> None:
    from oaml_core.training.loop import Interrupted

    try:
        with Handled(None, signal.SIGTERM):  # training sets its own
            import_module(worker).train_as_worker(config, dataset, run_dir, store_prefix)
    except Interrupted:
        raise Asked(128 + signal.SIGTERM) from None


def is_alone() -> bool:
    """Return True if all workers are on this machine: nothing in the environment names another meeting place."""
    return not any(os.environ.get(name) for name in SHARED)


def _rendezvous(config: Config, run_id: str, listener: socket.socket | None) -> list[str]:
    """torchrun's options; on one machine workers meet at `listener`, which is None elsewhere.

    The id is always the run's: runs that share one, as by torchrun's default, would take one another for their own.
    """
    train = config.train
    workers = f"--nproc-per-node={train.nproc or _gpus() or 1}"
    always = [f"--max-restarts={train.max_restarts}", "--monitor-interval=0.5", f"--rdzv-id={run_id}"]
    if "PET_RDZV_ENDPOINT" in os.environ or "PET_MASTER_ADDR" in os.environ:  # elastic, or of fixed size
        return [*always, *([workers] if "PET_NPROC_PER_NODE" not in os.environ else [])]
    nodes = f"--nnodes={train.min_nodes}:{train.max_nodes}"
    if listener is not None:
        return [*always, workers, nodes, *loopback_options(listener)]
    return [*always, workers, nodes, "--rdzv-backend=c10d", f"--rdzv-endpoint={os.environ['OAML_RDZV_ENDPOINT']}"]


def gpus_used(config: Config) -> int:
    """Return the GPUs of this machine that the workers train on; 0: its processor."""
    return min(_gpus(), config.train.nproc or _gpus())


def _gpus() -> int:
    """Count the GPUs of this machine. PyTorch, which takes seconds to import, is asked only where a driver is."""
    if not any(Path("/dev", name).exists() for name in GPU_DEVICES):
        return 0
    import torch

    return torch.cuda.device_count()


def _environment(config: Config) -> dict[str, str]:
    """Workers share the cores; torchrun's own default of one thread a worker would waste them."""
    environment = dict(os.environ) | {LAUNCHER_VARIABLE: str(os.getpid())}
    workers = config.train.nproc or _gpus() or 1
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # torchrun's shared store keeps the addresses of dead workers, which restarted ones then wait for.
    environment.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    return environment


def _run_to_end(
    command: list[str], environment: dict[str, str], error: Path, lock: RunLock, inherited: tuple[int, ...]
) -> int:
    """Run `command` in a process group of its own that the file `error` and signals end; the exit code.

    However this process ends, the kernel kills the command, and with it the workers. A lost lock kills them, too.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, signal.SIGKILL),
        pass_fds=inherited,
    )

    def pass_on(number: int, _: object) -> None:
        process.send_signal(signal.SIGTERM)
        pass_on.received = number  # type: ignore[attr-defined]

    pass_on.received = 0  # type: ignore[attr-defined]
    try:
        with Handled(pass_on, signal.SIGINT, *ASKING):
            while (code := _ended(process)) is None:
                lock.require()
                if error.exists():
                    process.terminate()
    finally:
        _end_group(process)
    received = pass_on.received  # type: ignore[attr-defined]
    if received == signal.SIGINT:
        raise KeyboardInterrupt
    return -received if received else code


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit code, if the process ends within a moment."""
    try:
        return process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process group, so that no worker outlives its launcher."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
