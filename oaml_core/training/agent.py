"""The agent of this machine's workers: `torchrun`, which a signal ends without a traceback."""

from __future__ import annotations

import sys

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
        main(arguments)
    except SignalException as ended:
        raise SystemExit(128 + ended.sigval) from None


if __name__ == "__main__":
    run_agent(sys.argv[1:])
