"""`oaml doctor`: what is installed, what the machine has, and whether the store answers."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from oaml_core.amounts import amount
from oaml_core.config import Config
from oaml_core.errors import ConfigError, StoreError
from oaml_core.gpu_driver import driver_release, is_too_old, oldest_driver

PACKAGES = ("torch", "torchvision", "lightning", "onnxruntime", "kfp", "minio", "wandb")
PYTHON = (3, 11)
FREE_WANTED = 10 * 2**30
SHARED_WANTED = 1 * 2**30
"""Bytes: decoding processes hand batches over in shared memory."""


@dataclass(frozen=True)
class DoctorFinding:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str
    remedy: str = ""


def diagnose(config: Config) -> list[DoctorFinding]:
    """Look at everything that a run of `config` needs."""
    return [*_software(), *_machine(config), _store(config), _tracking(config)]


def format_findings(findings: list[DoctorFinding]) -> str:
    """Return the findings for a terminal, each remedy below what it cures."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<5}{finding.name:<14}{finding.detail}")
        if finding.remedy:
            lines.append(f"{'':<19}→ {finding.remedy}")
    return "\n".join(lines)


def _software() -> Iterator[DoctorFinding]:
    enough = sys.version_info >= PYTHON
    wanted = ".".join(map(str, PYTHON))
    remedy = "" if enough else f"make a virtual environment with Python {wanted} or newer"
    yield DoctorFinding("python", "ok" if enough else "fail", platform.python_version(), remedy)
    for package in PACKAGES:
        try:
            yield DoctorFinding(package, "ok", version(package))
        except PackageNotFoundError:
            yield DoctorFinding(package, "fail", "not installed", "make setup, or pip install .")
    rclone = Path(sys.executable).with_name("rclone").exists() or shutil.which("rclone")
    yield (
        DoctorFinding("rclone", "ok", "serves S3 for runs on this machine")
        if rclone
        else DoctorFinding(
            "rclone", "warn", "not installed", "pip install 'oaml[demo]' for the pipeline on this machine"
        )
    )


def _machine(config: Config) -> Iterator[DoctorFinding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield DoctorFinding("cpu", "ok", f"{amount(os.cpu_count() or 1, 'core')}, {memory / 2**30:.0f} GiB memory")
    if find_spec("torch") is not None:  # there is none where models are promoted only
        yield from _gpus(config)
        yield _compiler(config)
    work_dir = Path(config.work_dir).absolute()
    existing = next(folder for folder in (work_dir, *work_dir.parents) if folder.exists())
    yield _space("disk", existing, FREE_WANTED, "free some, or set work_dir to another disk")
    if Path("/dev/shm").exists():
        yield _space("shared memory", Path("/dev/shm"), SHARED_WANTED, "enlarge /dev/shm, or set data.num_workers 0")


def _gpus(config: Config) -> Iterator[DoctorFinding]:
    import torch

    yield from _driver()
    for number in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(number)
        half = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield DoctorFinding("gpu", "ok", f"{found.name}, {found.total_memory / 2**30:.0f} GiB, {half}")
    if not torch.cuda.is_available():
        small = config.model.arch in ("ir_mini", "mobilefacenet", "mobilenet")
        remedy = "" if small else f"train {config.model.arch} on a GPU, or take model.arch ir_mini"
        yield DoctorFinding("gpu", "ok" if small else "warn", f"none; {config.model.arch} trains on the CPU", remedy)


def _driver() -> Iterator[DoctorFinding]:
    import torch

    driver, oldest = driver_release(), oldest_driver(torch.version.cuda)
    if driver is not None and oldest is not None:
        old = is_too_old(driver, oldest)
        remedy = f"install driver {oldest} or newer: torch is built with CUDA {torch.version.cuda}" if old else ""
        yield DoctorFinding("driver", "fail" if old else "ok", f"NVIDIA {driver}, at least {oldest}", remedy)


def _compiler(config: Config) -> DoctorFinding:
    """Say whether torch.compile can work; only a recipe that insists on it fails without."""
    from oaml_core.training.compiling import REMEDY, obstacle_to_compiling

    wanted = config.train.compile
    if (obstacle := obstacle_to_compiling()) is None:
        return DoctorFinding("torch.compile", "ok", "compilers for C and C++ and Python's headers are here")
    if wanted is False:
        return DoctorFinding("torch.compile", "ok", f"off; it could not work: {obstacle}")
    return DoctorFinding("torch.compile", "fail" if wanted is True else "warn", f"cannot work: {obstacle}", REMEDY)


def _space(name: str, folder: Path, wanted: int, remedy: str) -> DoctorFinding:
    free = shutil.disk_usage(folder).free
    enough = free >= wanted
    return DoctorFinding(name, "ok" if enough else "warn", f"{free / 2**30:.1f} GiB free", "" if enough else remedy)


def _store(config: Config) -> DoctorFinding:
    """Write, read and remove an object; a store that does not exist yet is not made for that."""
    from oaml_core.store import open_store

    key, content = f"doctor-{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        store = open_store(config.store)
        if not store.is_made():
            return DoctorFinding("store", "ok", f"{store.uri} is not there yet; the first run makes it")
        store.write_bytes(key, content)
        intact = store.read_bytes(key) == content
        store.delete(key)
    except (StoreError, ConfigError, OSError) as error:
        return DoctorFinding("store", "fail", config.store, str(error))
    if not intact:
        return DoctorFinding("store", "fail", store.uri, "it gives back other bytes than were put: use another server")
    return DoctorFinding("store", "ok", f"{store.uri} can be written and read")


def _tracking(config: Config) -> DoctorFinding:
    if config.tracking.wandb == "off":
        return DoctorFinding("wandb run", "ok", "off")
    key = bool(os.environ.get("WANDB_API_KEY"))
    if config.tracking.wandb == "online" and not key:
        return DoctorFinding(
            "wandb run", "warn", "online", "set WANDB_API_KEY, or log in, or set tracking.wandb offline"
        )
    return DoctorFinding("wandb run", "ok", "online" if key and config.tracking.wandb != "offline" else "offline")
