"""Fixtures that all tests share without naming them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest


def stack_without_lines(context: int = 1) -> list[inspect.FrameInfo]:
    """Return the frames that called, as `inspect.stack` does, without lines of source."""
    frames, frame = [], inspect.currentframe()
    while frame is not None and (frame := frame.f_back) is not None:
        code = frame.f_code
        frames.append(inspect.FrameInfo(frame, code.co_filename, frame.f_lineno, code.co_name, None, None))
    return frames


@pytest.fixture(scope="session", autouse=True)
def light_stacks() -> Iterator[None]:
    """Let kfp find the name of its caller, which it asks for 50 times a graph, in the frames alone.

    Looking for source, `inspect` walks all modules at each frame: 25 s a graph where tests before have imported
    PyTorch, else 0.3 s.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inspect.stack", stack_without_lines)
        yield
