"""Joining the other nodes again after the one that kept the rendezvous is gone.

torchrun's c10d rendezvous lives in one node's process, the first worker's pod on a cluster. When that goes, torchrun
ends on all others, too, with exit code 1, which a job's operator takes for a fault that comes back. It is none: the
node is made again under the same name, and everybody can meet there.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

ERROR_VARIABLE = "TORCHELASTIC_ERROR_FILE"
"""Names the file that torchrun writes its own failure to: torch/distributed/elastic/multiprocessing/errors."""
LOST = ("Rendezvous", "DistNetworkError", "DistStoreError")
"""Beginnings of the failures after which the others can be met again."""
PATIENCE_SECONDS = 1800.0
"""Time without meeting anybody after which it is given up; a new node may have to be started for the lost one."""
WAIT_SECONDS = 5.0


def run_and_rejoin(run: Callable[[], int], failure: Path) -> int:
    """Call `run`, which starts torchrun, again whenever it ends for lack of a rendezvous; return its last exit code.

    Args:
        failure: the file that ERROR_VARIABLE names.
    """
    met = time.monotonic()
    while True:
        failure.unlink(missing_ok=True)
        began = time.monotonic()
        code = run()
        if code <= 0 or not _is_lost_rendezvous(failure):
            return code
        if time.monotonic() - began > PATIENCE_SECONDS / 10:  # it had met the others
            met = time.monotonic()
        if time.monotonic() - met > PATIENCE_SECONDS:
            return code
        log.warning("The node that keeps the rendezvous is gone, or not there yet; joining again.")
        time.sleep(WAIT_SECONDS)


def _is_lost_rendezvous(failure: Path) -> bool:
    try:
        message = json.loads(failure.read_text())["message"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(message).startswith(LOST)
