"""What the processes of a run take in memory, read from /proc while it goes on. Linux only.

For what starts processes of its own: a run on Ray, or a peer with helpers. A side that is one
process tells its own peak (`harness.run_child`).
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

POLL_S = 0.25
"""Short beside the life of any process that counts: the kernel keeps the peak of each until it
ends. One look takes some milliseconds of processor time."""

DRIVER = "driver"
PREDICT = "GPU worker"
CPU = "CPU actor"
BUILDER = "graph builder"
STORE = "object store"
OTHER = "another process"
ROLES = (
    # Named so while it imports torch, before its first task.
    (re.compile(r"^ray::(predict|start GPU)"), PREDICT),
    (re.compile(r"^ray::(Worker|start CPU|table|metrics|load)"), CPU),
    (re.compile(r".*raypose\.execution\.artifacts", re.DOTALL), BUILDER),
)
"""Processes by what they are started as, those of Ray by the task that they are seen at."""


def processes_below(pid: int) -> Iterator[tuple[int, str]]:
    """Process id and title of a process and of all that come from it."""
    parents, titles = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                titles[int(entry.name)] = (entry / "cmdline").read_bytes().decode().strip("\0")
            except (OSError, UnicodeDecodeError):
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    for child, title in titles.items():
        ancestor = child
        while ancestor not in (pid, 0, 1):
            ancestor = parents.get(ancestor, 0)
        if ancestor == pid:
            yield child, title


def status_mib(pid: int | str) -> dict[str, float]:
    """Memory of a process: `VmHWM` is its peak, `RssShmem` what it sees of the object store."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "RssAnon", "RssShmem"):
            fields[name] = int(value.split()[0]) / 1024
    return fields


def store_mib(raylet: int) -> float:
    """What Ray's object store holds: blocks of the unlinked file that the raylet keeps open."""
    for file in Path(f"/proc/{raylet}/fd").iterdir():
        if "/plasma" in os.readlink(file):
            return file.stat().st_blocks * 512 / 2**20
    return 0.0


class Watch:
    """Peaks of the processes of one run.

    Args:
        driver: id of the process that was started; the others come from it.
    """

    def __init__(self, driver: int) -> None:
        self._driver = driver
        self._roles: dict[int, str] = {driver: DRIVER}
        self._peaks: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def look(self) -> None:
        for pid, title in processes_below(self._driver):
            for pattern, role in ROLES:
                # A worker may do both kinds where there is but one core.
                if pattern.match(title) and self._roles.get(pid) not in (DRIVER, PREDICT):
                    self._roles[pid] = role
            if "/raylet/raylet" in title:
                self._roles[pid] = STORE
            try:
                now = status_mib(pid)
                if self._roles.get(pid) == STORE:
                    now["RssShmem"] = store_mib(pid)
            except (OSError, ProcessLookupError):
                continue
            peaks = self._peaks[pid]
            for name, value in now.items():
                peaks[name] = max(peaks[name], value)

    def peaks_mib(self) -> dict[str, dict[str, int]]:
        """By role the largest peak of a process.

        `rss` is the peak as the kernel keeps it, `own` the largest seen without shared memory and
        mapped files; of the object store only `shared` counts.
        """
        found: dict[str, dict[str, int]] = {}
        for pid, peaks in self._peaks.items():
            role = self._roles.get(pid, OTHER)
            values = {"rss": peaks["VmHWM"], "own": peaks["RssAnon"], "shared": peaks["RssShmem"]}
            most = found.setdefault(role, dict.fromkeys(values, 0))
            found[role] = {name: max(most[name], round(value)) for name, value in values.items()}
        return found


def timed(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> tuple[float, dict[str, dict[str, int]]]:
    """Runs a command to its end.

    Returns:
        The seconds that it took, and the peaks of its processes (`Watch.peaks_mib`).

    Raises:
        SystemExit: it failed; with what it printed.
    """
    with tempfile.TemporaryFile("w+") as log:
        began = time.perf_counter()
        child = subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdout=log, stderr=subprocess.STDOUT
        )
        watch = Watch(child.pid)
        while True:
            watch.look()
            try:
                # Not `sleep`: the clock stops with the process, not up to a look later.
                child.wait(POLL_S)
                break
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - began
        if child.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{log.read()[-6000:]}")
    return seconds, watch.peaks_mib()
