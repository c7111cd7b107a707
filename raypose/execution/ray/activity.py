"""Whether a process is doing anything: what tells a long silent task from one that hangs.

Not every task reports frames: copying, indexing or hashing a file of many gigabytes may take
longer than `--stall-timeout`. A process that does so computes, reads or writes. One
that was stopped, or waits for a disk that no longer answers, does none of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

_LEAST_CPU = 0.05
"""As a share of one core; Ray's own threads take less."""

_LEAST_BYTES_PER_S = 200_000


def bytes_moved() -> int:
    """Bytes read and written by this process through system calls so far."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return 0  # this user may not read it; then only computing counts
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]) + int(counts["wchar"])


class Activity:
    """What this process does between two calls.

    Args:
        clock: seconds.
        cpu_s: CPU seconds used so far.
        n_bytes: bytes read and written so far.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
        n_bytes: Callable[[], int] = bytes_moved,
    ) -> None:
        self._clock, self._cpu_s, self._n_bytes = clock, cpu_s, n_bytes
        self._before = clock(), cpu_s(), n_bytes()

    def since_last(self) -> bool:
        """Whether it has done anything since the last call."""
        before, now = self._before, (self._clock(), self._cpu_s(), self._n_bytes())
        self._before = now
        passed_s, cpu_s, n_bytes = (b - a for a, b in zip(before, now, strict=True))
        return cpu_s >= _LEAST_CPU * passed_s or n_bytes >= _LEAST_BYTES_PER_S * passed_s
