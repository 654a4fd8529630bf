"""The best checkpoint of a run, named by every later checkpoint through its step and its digest."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oaml_core.errors import StoreError
from oaml_core.store import Store
from oaml_core.store.local_file import sha256_of
from oaml_core.training.checkpoints import link_atomically

log = logging.getLogger(__name__)

BEST = "best.ckpt"
"""File of the best checkpoint, in the folder of a run's checkpoints."""
BEST_KEY = "best"
"""Key in a checkpoint: step and SHA-256 of the best one so far, None before the first validation."""


@dataclass(frozen=True)
class BestCheckpoint:
    """Name of the best checkpoint by its content."""

    step: int
    sha256: str
    """Digest of the file, hexadecimal; empty inside that very checkpoint, which cannot hold its own digest."""

    @property
    def name(self) -> str:
        """Name of the file that was written at the best step."""
        return f"step-{self.step:010d}.ckpt"


def with_best(state: Mapping[str, Any], best: BestCheckpoint | None) -> dict[str, Any]:
    """Return `state` with the name of the best checkpoint in it."""
    return {**state, BEST_KEY: None if best is None else asdict(best)}


def best_of(state: Mapping[str, Any]) -> BestCheckpoint | None:
    """Return the best checkpoint that `state` names; None if it names none."""
    found = state.get(BEST_KEY)
    return None if found is None else BestCheckpoint(int(found["step"]), str(found["sha256"]))


def find_best(folder: Path, best: BestCheckpoint) -> BestCheckpoint | None:
    """Let `best.ckpt` in `folder` be `best`, where one of the files in `folder` is.

    Args:
        folder: checkpoints of the run on this machine.
        best: the checkpoint that is wanted; without a digest, the file of its step is taken.

    Returns:
        `best` with its digest, or None if no file here has that content.
    """
    for path in (folder / BEST, folder / best.name):
        if (path.name == BEST and not best.sha256) or not path.is_file():
            continue
        digest = sha256_of(path)
        if best.sha256 in ("", digest):
            if path.name != BEST:
                link_atomically(path, folder / BEST)
            return BestCheckpoint(best.step, digest)
    return None


def fetch_best(store: Store, prefix: str, folder: Path, best: BestCheckpoint) -> BestCheckpoint | None:
    """Let `best.ckpt` in `folder` be `best`, where an object of the store is.

    Args:
        store, prefix: where the run's checkpoints are.
        folder: checkpoints of the run on this machine.
        best: the checkpoint that is wanted.

    Returns:
        `best` with its digest, or None if no object of the store has that content.
    """
    fetched = folder / f".{BEST}.fetched.tmp"
    for name in (best.name, BEST)[: 2 if best.sha256 else 1]:
        try:
            store.get_file(f"{prefix}/{name}", fetched)
            digest = sha256_of(fetched)
            if best.sha256 in ("", digest):
                fetched.replace(folder / BEST)
                return BestCheckpoint(best.step, digest)
        except StoreError as error:
            log.warning("The best checkpoint cannot be fetched as %s: %s", name, error)
        finally:
            fetched.unlink(missing_ok=True)
    return None
