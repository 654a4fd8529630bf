"""Output of the agent of a machine's workers."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import pytest

from oaml_core.training.agent import threads_ended_by_themselves


class Timer:
    """Ends and joins its thread when it is collected, as torchrun's timers do."""

    def __init__(self, thread: threading.Thread, fault: Exception | None = None) -> None:
        weakref.finalize(self, _stop, thread, fault)


def _stop(thread: threading.Thread, fault: Exception | None) -> None:
    if fault is not None:
        raise fault
    thread.join()


@pytest.mark.parametrize(("quiet", "fault", "count"), [(False, None, 1), (True, None, 0), (True, ValueError("x"), 1)])
def test_a_thread_that_is_to_wait_for_itself_is_no_fault(
    quiet: bool, fault: Exception | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda lost: told.append(lost.exc_value))
    held: list[Timer] = []
    thread = threading.Thread(target=held.clear)
    held.append(Timer(thread, fault))
    if quiet:
        with threads_ended_by_themselves():
            thread.start()
            thread.join()
    else:
        thread.start()
        thread.join()
    assert len(told) == count
