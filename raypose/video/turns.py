"""Limits how many threads do work that is part computation, part reading.

FFmpeg releases Python's lock for each packet, and Python for each file: threads that read at once
pass the lock to and fro, and together take up to twice as long as one. Only where they wait for a
slow disk or a store are several worth it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

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
        self.most, self._cpu_s, self._clock = most, cpu_s, clock
        self.at_once = 1  # how many there are at present
        self._free = threading.Semaphore(self.at_once)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        with self._free:
            began, computed = self._clock(), self._cpu_s()
            yield
            took, busy = self._clock() - began, self._cpu_s() - computed
        with self._lock:
            if took - busy > _WAITS * took and self.at_once < self.most:
                self.at_once += 1
                self._free.release()


def map_in_turns(
    function: Callable[[T], R], items: Sequence[T], *, turns: Turns, per_turn: int = 1
) -> list[R]:
    """What a function makes of each item, in order, in as many threads as there are turns.

    The calling thread does it alone for as long as there is one turn: to pass work to another
    thread and wait for it takes as long as many an item. `per_turn` is for items that take less
    time than a turn does. The first exception ends it.
    """

    def some(start: int) -> list[R]:
        with turns.turn():
            return [function(item) for item in items[start : start + per_turn]]

    starts = iter(range(0, len(items), per_turn))
    made: list[R] = []
    while turns.at_once == 1:
        if (start := next(starts, None)) is None:
            return made
        made += some(start)
    with ThreadPoolExecutor(turns.most, thread_name_prefix="turns") as pool:
        return made + [result for part in pool.map(some, starts) for result in part]
