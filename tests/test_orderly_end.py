"""Signals that ask a program to end: blocks are left in order, and what listens or is ignored stays so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oaml_core.orderly_end import ASKING, Asked, Handled, asking_raises, ends_in_its_own_time

HELD = """
import os, signal, sys, time
from oaml_core.held_folder import held_folder
from oaml_core.orderly_end import end_in_order

def program():
    with held_folder("oaml-here-"):
        {act}
        time.sleep(60)

end_in_order(program)
"""
FORKED = """child = os.fork()
        if not child:
            print("child", flush=True)
            try:
                time.sleep(60)
            finally:
                print("left its blocks", flush=True)
                os._exit(0)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        assert os.waitpid(child, 0)[1] == signal.SIGTERM
        return"""


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    """Signals as a program finds them at its start, whatever tests before have left."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(act: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(folder)}
    program = HELD.format(act=act)
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # with SIGHUP as `own_handlers` has set it


@pytest.mark.parametrize("number", ASKING)
def test_what_is_asked_to_end_leaves_no_folder(number: int, tmp_path: Path) -> None:
    done = run(f"os.kill(os.getpid(), {number:d})", tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (128 + number, "", 1), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_ends_at_once(tmp_path: Path) -> None:
    done = run(FORKED, tmp_path)
    assert (done.returncode, done.stdout) == (0, "child\n"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asking_raises(), Handled(lambda *_: pytest.fail("it is ignored"), signal.SIGHUP):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_those_of_before_after_the_block() -> None:
    with asking_raises():
        with Handled(None, signal.SIGTERM):
            signal.signal(signal.SIGTERM, lambda *_: None)
            assert ends_in_its_own_time()
        assert not ends_in_its_own_time()
        with asking_raises(), pytest.raises(Asked) as asked:
            signal.raise_signal(signal.SIGTERM)
        assert asked.value.code == 143
        with pytest.raises(Asked):
            signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in ASKING] == [signal.SIG_DFL] * 2


def test_other_threads_may_run_what_handles_signals() -> None:
    seen = []

    def work() -> None:
        with asking_raises(), Handled(lambda *_: None, signal.SIGTERM):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
