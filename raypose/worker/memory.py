"""Returns freed memory to the system, so that a worker does not grow with every task; and pauses
the garbage collector."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import sys
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h
_MAX_ARENAS = 1
# Larger blocks go back to the system when they are freed, which zeroes them for their next use. A
# network's layers allocate up to 25 MiB per batch: with a limit of 8 MiB, inference took a tenth
# longer. glibc allows no more than this.
_LARGE_BYTES = 32 << 20
# What may stay free at the end of the heap until `release_memory`.
_TRIM_BYTES = 256 << 20


def release_memory() -> None:
    """Return the free memory of this process to the system, which takes milliseconds.

    glibc keeps what is freed between pieces that are still in use: over a long video, a worker
    grew by hundreds of megabytes that it did not hold. Arrow's pool keeps free pages, too.
    """
    with contextlib.suppress(OSError, AttributeError):  # of another C library
        _libc().malloc_trim(0)
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()


def limit_arenas() -> None:
    """Use one heap for all threads of this process; call it before many have started.

    glibc gives threads their own heaps, sixteen on two cores, and keeps in each what its threads
    once needed. Threads come and go with every range of a video.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = _libc().mallopt
        mallopt(_M_ARENA_MAX, _MAX_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Do not look for garbage cycles in the block, which makes many objects that stay.

    Looking through a growing plan again and again took a third of its time, and found nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
