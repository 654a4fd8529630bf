"""A command of `oaml` that is killed while it sends a checkpoint, of which half is in the store then."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from oaml_core.cli import main
from oaml_core.store.folder import FolderStore
from tests.training import forked


def killed_while_sending(step: int, words: Sequence[str]) -> int:
    """Run a command until it has copied the checkpoint of `step` into its folder store, and not renamed it.

    Returns:
        The exit code of its process: −9, or its own if it never came so far.
    """
    process = forked.start(_run, step, list(words))
    process.join()
    return int(process.exitcode or 0)


def _run(step: int, words: list[str]) -> None:
    show = FolderStore._show

    def killed(store: FolderStore, new: Path, key: str, digest: str) -> None:
        if key.endswith(f"step-{step:010d}.ckpt"):
            os.kill(os.getpid(), signal.SIGKILL)
        show(store, new, key, digest)

    FolderStore._show = killed  # type: ignore[method-assign]
    with suppress(SystemExit):
        main(words)
