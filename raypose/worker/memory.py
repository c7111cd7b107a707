"""Giving memory back: a worker that has done a long range holds no more than before."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h
_MAX_ARENAS = 1
# Blocks above go back to the system when they are freed, and are zeroed by it when they are asked
# for again. The layers of a network ask for up to 25 MiB a batch: with a limit of 8 MiB, inference
# took a tenth longer. glibc allows no more.
_LARGE_BYTES = 32 << 20
# What may stay free at the end of the heap meanwhile, till `release_memory`.
_TRIM_BYTES = 256 << 20


def release_memory() -> None:
    """Return what is free in this process to the system.

    The tables of a range are tens of megabytes in many pieces. glibc keeps what is freed between
    pieces that are still in use, so that a worker grew by hundreds of megabytes over a long
    video though it held nothing of it; Arrow's pool keeps pages likewise. Costs milliseconds.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()


def limit_arenas() -> None:
    """Have one heap for all threads of this process; to be called before many have started.

    glibc gives threads heaps of their own, sixteen on two cores, and keeps in each what its
    threads once needed. Threads come and go with every range of a video.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _MAX_ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's function; None with another C library."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return function
