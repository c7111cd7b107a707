"""Ends the processes of a Ray that this process has started, however this process itself ends.

The kernel kills the processes that the driver has started, but not those of the raylet: workers
notice after two seconds, and the agents try for minutes to tell a cluster that is gone. The guard
is a small process beside the driver. It waits until the driver closes a pipe or dies, and then
kills what is left of that Ray and of no other.

As a script, this file is the guard; so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

_LOOK_EVERY_S = 1.0
_KILL_EVERY_S = 0.05
_KILL_FOR_S = 10.0


class Guard:
    """Guards the Ray that this process starts next, until `close`."""

    def __init__(self) -> None:
        # -S: without the installed packages it starts in milliseconds. A session of its own keeps
        # it from signals that are meant for the run.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Kill what is left of Ray, and wait until it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * _KILL_FOR_S)


def ray_processes(driver: int) -> Iterator[int]:
    """All processes of a Ray that was started by the process `driver`, without that itself.

    Ray names a session after its driver's process number, and each of its processes has standard
    output or error in the session's logs. What the driver forks may share the driver's log only.
    """
    output = re.compile(rf"/session_[-_\d]+_{driver}/logs/[^/]+\.(out|err)")
    mine = os.getuid(), os.readlink("/proc/self/ns/pid")
    for entry in os.listdir("/proc"):
        place = f"/proc/{entry}"
        with contextlib.suppress(OSError):  # it has ended, or is not ours
            if not entry.isdigit() or int(entry) == driver:
                continue
            if (os.stat(place).st_uid, os.readlink(f"{place}/ns/pid")) != mine:
                continue
            if any(map(output.search, _open_files(place))):
                yield int(entry)


def _open_files(place: str) -> Iterator[str]:
    for name in os.listdir(f"{place}/fd"):
        with contextlib.suppress(OSError):  # it was closed
            yield os.readlink(f"{place}/fd/{name}")


def kill_ray(driver: int) -> None:
    """Kill the processes of that Ray, and those that they start meanwhile."""
    deadline = time.monotonic() + _KILL_FOR_S
    while (found := list(ray_processes(driver))) and time.monotonic() < deadline:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_KILL_EVERY_S)


def _guard(driver: int) -> None:
    """Wait for the end of the driver, or of its need for Ray."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    ended: list[int] = []
    # A process that the driver has forked may hold the pipe open after the driver's death.
    while not ended and os.getppid() == driver:
        ended, _, _ = select.select([sys.stdin.fileno()], [], [], _LOOK_EVERY_S)
    kill_ray(driver)


if __name__ == "__main__":
    _guard(int(sys.argv[1]))
