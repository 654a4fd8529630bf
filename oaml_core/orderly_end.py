"""The end of a program after Ctrl-C, or after the reader of its output has gone: one line at most, never a traceback.

This module imports next to nothing. The program imports its own modules, which can take seconds, inside `end_in_order`.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than this module's
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a process that SIGINT ends."""
READER_GONE = 141
"""Exit code after a closed pipe, as of a process that SIGPIPE ends."""


def end_in_order(program: Callable[[], int | None]) -> NoReturn:
    """Run a program and exit.

    Args:
        program: imports what it needs, and returns its exit code; None is 0.

    Raises:
        SystemExit: always: with the program's own code, 130 after Ctrl-C, or 141 after the reader of the output, such
            as `head`, has gone.
    """
    told_before = sys.unraisablehook

    def tell_unraisable(lost: sys.UnraisableHookArgs) -> None:
        if issubclass(lost.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(_interrupt_soon, ())
        else:
            told_before(lost)

    sys.unraisablehook = tell_unraisable
    try:
        try:
            code = program()
        finally:
            flush_output()
        sys.exit(code)
    except BrokenPipeError as error:
        if not nobody_reads(error):
            raise
        discard_output()
        sys.exit(READER_GONE)
    except KeyboardInterrupt:
        print("oaml: interrupted; nothing is half-written, the same command goes on.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    finally:
        sys.unraisablehook = told_before


def _interrupt_soon() -> None:
    """Interrupt the main thread again: callbacks, such as those of imports, swallow the first KeyboardInterrupt."""
    time.sleep(0.01)  # until the callback has ended
    _thread.interrupt_main()


def nobody_reads(error: BaseException) -> bool:
    """Return True if `error` came from writing to standard output or standard error that nobody reads on.

    A server or another process that has gone raises the same error; its connection is not one of the two streams.
    """
    if not isinstance(error, BrokenPipeError):
        return False
    import select

    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def flush_output() -> None:
    """Write what standard output still holds.

    Raises:
        OSError: it cannot be written: the reader has gone, or the disk is full.
    """
    if sys.stdout is not None:  # as it is where the program was started with standard output closed
        sys.stdout.flush()


def flush_or_discard_output() -> None:
    """Write what standard output still holds, or discard it where it cannot be written."""
    try:
        flush_output()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Send what standard output still holds, and all that follows, nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
