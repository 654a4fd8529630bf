"""Checkpoints that are complete or absent: snapshot, write in the background, rename, upload, prune.

A file `step-<number>.ckpt` appears by rename after fsync, so any that is there is complete. In the store a
checkpoint is an object with its SHA-256; `last.json` names the newest and is written after it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from oaml_core.errors import CheckpointError, StoreError
from oaml_core.store import Store

log = logging.getLogger(__name__)

NAME = re.compile(r"step-(\d{10})\.ckpt")
POINTER = "last.json"
BEST = "best.ckpt"


@dataclass
class CheckpointKeeper:
    """Writes, finds and prunes the checkpoints of one run.

    Args:
        folder: local folder of the run's checkpoints.
        store, prefix: where each checkpoint is put as well, so that a run goes on on another machine.
        keep: newest checkpoints that stay, beside the best.
    """

    folder: Path
    store: Store | None
    prefix: str
    keep: int
    stall_seconds: float = 0.0
    """Time that training has waited for checkpoints so far."""
    _writer: threading.Thread | None = field(default=None, repr=False)

    def save(self, state: Mapping[str, Any], step: int, *, best: bool = False) -> None:
        """Write `state` in the background; training waits only for the copy, and for a write still under way.

        A write that fails (disk full, store unreachable) is logged, and the last good checkpoint stays.
        """
        began = time.perf_counter()
        self.wait()
        snapshot = _copied(state)
        self._writer = threading.Thread(target=self._write, args=(snapshot, step, best), name="checkpoint")
        self._writer.start()
        self.stall_seconds += time.perf_counter() - began

    def wait(self) -> None:
        """Return when no write is under way."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None

    def newest(self) -> str | None:
        """Name of the newest complete checkpoint, here or in the store; None if there is none."""
        names = {path.name for path in self.folder.glob("step-*.ckpt") if NAME.fullmatch(path.name)}
        if self.store is not None and self.store.exists(f"{self.prefix}/{POINTER}"):
            names.add(json.loads(self.store.read_bytes(f"{self.prefix}/{POINTER}"))["name"])
        return max(names, default=None)

    def load(self, name: str) -> dict[str, Any]:
        """The state that checkpoint `name` holds, from the local folder or else from the store."""
        path = self.folder / name
        if not path.exists():
            if self.store is None:
                raise CheckpointError(f"There is no checkpoint {path}.")
            self.folder.mkdir(parents=True, exist_ok=True)
            self.store.get_file(f"{self.prefix}/{name}", path)
        return read_checkpoint(path)

    def _write(self, state: Mapping[str, Any], step: int, best: bool) -> None:
        path = self.folder / f"step-{step:010d}.ckpt"
        try:
            write_checkpoint(state, path)
            if best:
                link_atomically(path, self.folder / BEST)
            self._prune()
        except OSError as error:
            log.warning(
                "Checkpoint %s could not be written (%s). Training goes on; the previous one stays.", path, error
            )
            return
        try:
            self._upload(path, best)
        except StoreError as error:
            log.warning("Checkpoint %s is here but not in the store yet: %s", path.name, error)

    def _upload(self, path: Path, best: bool) -> None:
        if self.store is None:
            return
        info = self.store.put_file(path, f"{self.prefix}/{path.name}")
        if best:
            self.store.put_file(self.folder / BEST, f"{self.prefix}/{BEST}")
        pointer = {"name": path.name, "sha256": info.sha256}
        self.store.write_bytes(f"{self.prefix}/{POINTER}", json.dumps(pointer).encode())
        kept = {p.name for p in self.folder.glob("step-*.ckpt")} | {path.name}
        for entry in list(self.store.list(f"{self.prefix}/step-")):
            if entry.key.rpartition("/")[2] not in kept:
                self.store.delete(entry.key)

    def _prune(self) -> None:
        newest_last = sorted(p for p in self.folder.glob("step-*.ckpt") if NAME.fullmatch(p.name))
        for path in newest_last[: -self.keep]:
            path.unlink()


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` so that `path` is complete or absent: temporary name, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def link_atomically(path: Path, name: Path) -> None:
    """Let `name` be the same file as `path`, replacing what it was."""
    temporary = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(path, temporary)
    temporary.replace(name)
    _sync_folder(name.parent)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file; nothing in it is executed (weights_only).

    Raises:
        CheckpointError: the file is missing, truncated, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, BadZipFile … by damage
        raise CheckpointError(f"Checkpoint {path} cannot be read: {error}. Take another, or train again.") from error
    if not isinstance(state, dict) or "config" not in state:
        raise CheckpointError(f"{path} is not an OAML checkpoint. Backbone weights go to model.weights.")
    return state


def _copied(value: Any) -> Any:
    """A copy of nested state whose tensors are on the CPU and no longer change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
