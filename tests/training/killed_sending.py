"""A command of `oaml` that is killed while it sends a checkpoint, of which half is in the store then."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from oaml_core.cli import main
from oaml_core.errors import StoreError
from oaml_core.store.folder import FolderStore
from oaml_core.training.keeper import CheckpointKeeper
from tests.training import forked


def killed_while_sending(step: int, words: Sequence[str]) -> int:
    """Run a command until its end waits for the checkpoint of `step`, of which the folder store has a copy then that is
    not renamed; before that the store takes none of this step.

    Returns:
        The exit code of its process: −9, or its own if it never came so far.
    """
    process = forked.start(_run, step, list(words))
    process.join()
    return int(process.exitcode or 0)


def _run(step: int, words: list[str]) -> None:
    show, wait, ending = FolderStore._show, CheckpointKeeper.wait, threading.Event()

    def killed(store: FolderStore, new: Path, key: str, digest: str) -> None:
        if key.endswith(f"step-{step:010d}.ckpt"):
            if not ending.is_set():
                raise StoreError("the store is away")
            os.kill(os.getpid(), signal.SIGKILL)
        show(store, new, key, digest)

    def ended(keeper: CheckpointKeeper, *patience: float) -> None:
        ending.set()
        wait(keeper, *patience)

    FolderStore._show, CheckpointKeeper.wait = killed, ended  # type: ignore[method-assign]
    with suppress(SystemExit):
        main(words)
