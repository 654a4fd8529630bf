"""Memory that a call takes at its peak."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from oaml_core.peak_memory import peak_mib


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_it_is_what_the_call_took_though_it_gave_it_back() -> None:
    found = peak_mib(lambda: np.ones(64 * 2**20, dtype=np.uint8).sum())
    assert found is not None
    assert 60 < found < 100
