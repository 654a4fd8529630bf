"""What the allocator does with freed memory, seen from outside of the process."""

import subprocess
import sys

import psutil
import pytest

from oaml_core.kept_memory import give_back_freed_memory

COUNT = """
import resource, sys
import numpy as np
from oaml_core.kept_memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def fill():
    return np.ones(2**24)  # 128 MiB
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux's C library is meant")
def test_pages_are_asked_for_once() -> None:
    def faults(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    given_back, kept = faults("given back"), faults("kept")

    # Four arrays of 128 MiB: 131,072 pages of 4 KiB, or 256 of 2 MiB where the system has those.
    assert given_back > 200
    assert kept < given_back / 10


EARLIER = """
import psutil
from oaml_core.kept_memory import keep_freed_memory
blocks = [bytearray(100_000) for _ in range(1000)]
before = psutil.Process().memory_info().rss
del blocks[:-1]
assert keep_freed_memory()
print(before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux's C library is meant")
def test_what_earlier_work_freed_is_not_kept() -> None:
    """As of preparation, after which the same process trains."""
    done = subprocess.run([sys.executable, "-c", EARLIER], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the allocator of Linux's C library is meant")
def test_freed_memory_between_blocks_in_use_goes_back() -> None:
    blocks = [bytearray(100_000) for _ in range(1000)]
    before = psutil.Process().memory_info().rss
    del blocks[:-1]

    assert give_back_freed_memory()

    assert before - psutil.Process().memory_info().rss > 50 * 2**20
