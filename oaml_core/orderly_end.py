"""The end of a program after Ctrl-C, a signal that asks it to end, or the loss of its output's reader.

It says one line at most, never a traceback, and what it holds is given back: folders for temporary files, locks,
connections. This module imports next to nothing. The program imports its own modules, which can take seconds, inside
`end_in_order`.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than this module's
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a process that SIGINT ends."""
READER_GONE = 141
"""Exit code after a closed pipe, as of a process that SIGPIPE ends."""
ASKING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that ask a program to end: of Kubernetes, `kill` and systemd; and of a terminal that is closed."""


class Asked(SystemExit):
    """The program was asked to end by a signal; its `code` is 128 and the signal's number, as shells have it."""


class Handled:
    """Context in which signals have another handler; afterwards they have the one of before again.

    What is ignored, as SIGHUP under nohup, stays so. Outside of the main thread, which alone may set handlers, nothing
    changes.

    Args:
        handler: as for `signal.signal`; None: the block sets its own.
        numbers: the signals.
    """

    def __init__(self, handler: Callable[[int, Any], object] | None, *numbers: int) -> None:
        self._handler, self._numbers = handler, numbers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in self._numbers:
            before = signal.getsignal(number)
            if before is None or before is signal.SIG_IGN:  # None: not set by Python, which could not set it again
                continue
            try:
                signal.signal(number, before if self._handler is None else self._handler)
            except ValueError:  # not the main thread
                continue
            self._before[number] = before

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


def asking_raises() -> Handled:
    """Return a context in which signals that ask for an end raise `Asked`, as Ctrl-C raises KeyboardInterrupt.

    Blocks of `with` are so left in order. What is handled already keeps its handler.
    """
    return Handled(_raise, *(number for number in ASKING if signal.getsignal(number) is signal.SIG_DFL))


def _raise(number: int, _: object) -> None:
    raise Asked(128 + number)


def _default_again() -> None:
    """Let a forked child end at once, as it would without `asking_raises`: what it could leave is its parent's."""
    for number in ASKING:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(after_in_child=_default_again)


def ends_in_its_own_time() -> bool:
    """Return True if SIGTERM would be heard by work that ends in its own time, as training does after a checkpoint."""
    handler = signal.getsignal(signal.SIGTERM)
    return callable(handler) and handler is not _raise


def end_in_order(program: Callable[[], int | None]) -> NoReturn:
    """Run a program and exit.

    Args:
        program: imports what it needs, and returns its exit code; None is 0.

    Raises:
        SystemExit: always: with the program's own code, 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP, or 141
            after the reader of the output, such as `head`, has gone.
    """
    told_before = sys.unraisablehook

    def tell_unraisable(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt):
            _thread.start_new_thread(_again_soon, (signal.SIGINT,))
        elif isinstance(lost.exc_value, Asked):
            _thread.start_new_thread(_again_soon, (signal.Signals(int(str(lost.exc_value)) - 128),))
        else:
            told_before(lost)

    sys.unraisablehook = tell_unraisable
    try:
        with asking_raises():
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
        _say("interrupted")
        sys.exit(INTERRUPTED)
    except Asked:
        _say("asked to end")
        raise
    finally:
        sys.unraisablehook = told_before


def _say(ended: str) -> None:
    try:
        print(f"oaml: {ended}; nothing is half-written, the same command goes on.", file=sys.stderr, flush=True)
    except OSError:  # the terminal has been closed
        return


def _again_soon(number: signal.Signals) -> None:
    """Raise a signal in the main thread again: callbacks, such as those of imports, swallow what the first raises."""
    time.sleep(0.01)  # until the callback has ended
    _thread.interrupt_main(number)


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
