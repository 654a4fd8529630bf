"""The agent of this machine's workers: `torchrun`, which a signal ends without a traceback."""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main


def run_agent(arguments: list[str]) -> None:
    """Run `torchrun`.

    Args:
        arguments: its command line.

    Raises:
        SystemExit: with 128 and the signal's number, where one ended it; the workers have ended before.
    """
    try:
        main(arguments)
    except SignalException as ended:
        raise SystemExit(128 + ended.sigval) from None


if __name__ == "__main__":
    run_agent(sys.argv[1:])
