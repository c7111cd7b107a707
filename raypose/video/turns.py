"""How many threads read packets at once.

FFmpeg gives Python's lock away for each packet: threads that read packets at once pass it to and
fro, and together take twice as long as one. Only where they wait for a slow disk is it worth it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

# The share of its time above which a thread waits for the disk, and not only for other threads.
_WAITS = 0.75


class Turns:
    """One thread at a time, and one more whenever a thread has mostly waited, up to `most`.

    Args:
        most: threads at once on a slow disk.
        cpu_s: seconds that the calling thread has computed.
        clock: seconds, from any beginning.
    """

    def __init__(
        self,
        most: int,
        *,
        cpu_s: Callable[[], float] = time.thread_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._most, self._cpu_s, self._clock = most, cpu_s, clock
        self._at_once = 1
        self._free = threading.Semaphore(self._at_once)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        with self._free:
            began, computed = self._clock(), self._cpu_s()
            yield
            took, busy = self._clock() - began, self._cpu_s() - computed
        with self._lock:
            if took - busy > _WAITS * took and self._at_once < self._most:
                self._at_once += 1
                self._free.release()
