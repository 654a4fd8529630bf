"""The agent of this machine's workers: `torchrun`, which a signal ends without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.rendezvous import rendezvous_handler_registry
from torch.distributed.run import main

from oaml_core.training.meeting import BACKEND, meet_on_loopback


def run_agent(arguments: list[str]) -> None:
    """Run `torchrun`.

    Args:
        arguments: its command line.

    Raises:
        SystemExit: with 128 and the signal's number, where one ended it; the workers have ended before.
    """
    rendezvous_handler_registry.register(BACKEND, meet_on_loopback)
    try:
        with threads_ended_by_themselves():
            main(arguments)
    except SignalException as ended:
        raise SystemExit(128 + ended.sigval) from None


@contextmanager
def threads_ended_by_themselves() -> Iterator[None]:
    """Say nothing of a thread that is to end and cannot wait for itself.

    torchrun's timers stop and join their thread when they are collected. Where that happens in the very thread, it has
    been told to end, and Python shows a traceback for the joining.
    """
    told_before = sys.unraisablehook

    def tell(lost: sys.UnraisableHookArgs) -> None:
        if not (isinstance(lost.exc_value, RuntimeError) and "cannot join current thread" in str(lost.exc_value)):
            told_before(lost)

    sys.unraisablehook = tell
    try:
        yield
    finally:
        sys.unraisablehook = told_before


if __name__ == "__main__":
    run_agent(sys.argv[1:])
