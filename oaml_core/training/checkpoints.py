"""Checkpoint files that are complete or absent: temporary name, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from oaml_core.errors import CheckpointError, OamlError
from oaml_core.models.tensor_archive import load_tensors
from oaml_core.whole_file import written_whole


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write `state` so that `path` is complete or absent: temporary name, fsync, rename, fsync of the folder."""
    _write(path, lambda file: torch.save(dict(state), file))


def write_content(content: bytes, path: Path) -> None:
    """Write the bytes of a checkpoint so that `path` is complete or absent."""
    _write(path, lambda file: file.write(content))


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path.parent)


def link_atomically(path: Path, name: Path) -> None:
    """Let `name` be the same file as `path`, replacing what it was."""
    temporary = name.with_name(f".{name.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    os.link(path, temporary)
    temporary.replace(name)
    _sync_folder(name.parent)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the state in a checkpoint file; nothing in it is executed (weights_only).

    Raises:
        CheckpointError: the file is missing, truncated or damaged, or holds more than tensors and plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}.")
    try:
        state = load_tensors(path)
    except Exception as error:  # torch raises RuntimeError, EOFError, UnpicklingError, BadZipFile … by damage
        raise CheckpointError(
            f"{path} cannot be read: it is no checkpoint, or is cut off or damaged ({type(error).__name__} while "
            "loading it). Take another, or train again."
        ) from error
    if not isinstance(state, dict) or "config" not in state:
        raise CheckpointError(f"{path} is not an OAML checkpoint. Backbone weights go to model.weights.")
    return state


@contextmanager
def using_content(where: Path) -> Iterator[None]:
    """Name the checkpoint in whose content something is missing or of another form, while it is taken apart.

    Args:
        where: the file, or the folder of a run's checkpoints.

    Raises:
        CheckpointError: in place of the error that a missing key or another type brought about.
    """
    try:
        yield
    except (OamlError, torch.OutOfMemoryError):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"The checkpoint in {where} does not hold what this command needs ({type(error).__name__}: {reason}). It "
            "is damaged, or of another kind or version: take another, or train again."
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
