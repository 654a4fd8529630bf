"""Fixtures of the training tests."""

from __future__ import annotations

import pytest
from tiny_run import TinyRun


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A tiny run with its data prepared."""
    return TinyRun(tmp_path_factory.mktemp("tiny"))
