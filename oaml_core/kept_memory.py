"""Memory that is not in use: kept in the process, so that torch is several times as fast, or given back."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable
from weakref import ref

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of mallopt(3), as in glibc's malloc.h."""
LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process reuse the memory of freed tensors instead of asking the system for it again.

    glibc maps every block above 32 MiB anew and gives it back when it is freed. The system then clears each page at
    its first use: a batch of 96 faces costs MobileFaceNet more time in the system than in arithmetic. Afterwards the
    process keeps its peak of memory to its end, so call this where a process is about to train or to measure, and
    then ends. What earlier work of the process freed is given back first, as it would stay, too.

    Returns:
        Whether the allocator took both settings; False where it is not glibc's.
    """
    give_back_freed_memory()
    mallopt = _of_allocator("mallopt")
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))


def give_back_freed_memory() -> bool:
    """Give all freed memory back to the system.

    glibc keeps what was freed between blocks that are still in use, in one arena per thread. A process that lives for
    weeks and frees large things now and then grows by that. Source: malloc_trim(3).

    Returns:
        Whether memory was given back; False where the allocator is not glibc's.
    """
    trim = _of_allocator("malloc_trim")
    return trim is not None and bool(trim(0))


def let_go(address: int, size: int) -> bool:
    """Let this process alone go of memory whose content it never reads again; later it would read zeros there.

    A forked process holds a page that its parent changes as it was. Source: madvise(2), MADV_DONTNEED.

    Args:
        address: of the first byte.
        size: in bytes; pages that it covers in part stay.

    Returns:
        Whether whole pages went; False where the system is not Linux.
    """
    page = mmap.PAGESIZE
    first, end = -(-address // page) * page, (address + size) // page * page
    if sys.platform != "linux" or end <= first:
        return False
    advise = ctypes.CDLL(None).madvise
    return not advise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), mmap.MADV_DONTNEED)


class LargeObjects:
    """Large objects of a process that lives for weeks, so that the memory of those that are gone is given back.

    Args:
        first: the first of them.
    """

    def __init__(self, first: object) -> None:
        self._there = [ref(first)]

    def add(self, other: object) -> None:
        """Watch another large object, without keeping it."""
        self._there.append(ref(other))

    def give_back_memory(self) -> None:
        """Give freed memory back to the system if an object is gone since the last call."""
        there = [one for one in self._there if one() is not None]
        if len(there) < len(self._there):
            give_back_freed_memory()
        self._there = there


def _of_allocator(name: str) -> Callable[..., int] | None:
    """Return a function of glibc's malloc; None where the C library is another one."""
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
    return found
