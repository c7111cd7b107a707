"""The processes of a run: found by their session and an environment variable, told by their role.

A role is `driver`, `GPU worker`, `CPU worker`, `coordinator`, `raylet`, `GCS` or `agent`.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

MARK = "RAYPOSE_FAULTS_RUN"
"""Environment variable with a name for the run that the process belongs to."""

_WORKER_NAME = re.compile(r'"worker": ?"[^"]*:(\d+)( gpu [\d,]+)?"')
_STARTING = re.compile(r"^ray::start (GPU|CPU) worker")
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


def processes_of(session: int, mark: str, variable: str = MARK) -> list[int]:
    """Every living process of a session, or with the mark in its environment."""
    found = []
    wanted = f"{variable}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] == "Z":
                continue
            is_ours = int(fields[3]) == session
            if is_ours or wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile
    return found


def title(pid: int) -> str:
    """The command line of a process, in one line; empty if it has ended."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return content.replace(b"\0", b" ").decode(errors="replace").strip()


def _short_title(pid: int) -> str:
    """The names of a process's program and of its script, without their folders."""
    return " ".join(part.rpartition("/")[2] for part in title(pid).split(" ")[:3])


def by_role(driver: int, pids: list[int], events: str) -> dict[str, list[int]]:
    """The processes by role; `events` is the text of the run's log, which names its workers."""
    workers = {int(pid): "GPU" if gpu else "CPU" for pid, gpu in _WORKER_NAME.findall(events)}
    roles = defaultdict(list)
    for pid in pids:
        if role := _role(pid, driver, workers):
            roles[role].append(pid)
    return dict(roles)


def _role(pid: int, driver: int, workers: dict[int, str]) -> str:
    if pid == driver:
        return "driver"
    what = title(pid)
    program = what.partition(" ")[0]
    if program.endswith("/raylet"):
        return "raylet"
    if program.endswith("/gcs_server"):
        return "GCS"
    if program.startswith(_AGENTS):
        return "agent"
    if ":Coordinator" in program:
        return "coordinator"
    if match := _STARTING.match(what):
        return f"{match[1]} worker"
    return f"{workers[pid]} worker" if pid in workers else ""


def send(pid: int, what: signal.Signals) -> bool:
    """Send a signal; False if the process has ended."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True


def wait_until_none(find: Callable[[], list[int]], timeout_s: float) -> list[str]:
    """Wait until no process is found; the titles of those that are left after the time."""
    deadline = time.monotonic() + timeout_s
    while pids := find():
        if time.monotonic() > deadline:
            return [_short_title(pid) for pid in pids]
        time.sleep(0.2)
    return []


def kill_all(find: Callable[[], list[int]]) -> None:
    """Kill processes until none is found."""
    while pids := find():
        for pid in pids:
            send(pid, signal.SIGKILL)
        time.sleep(0.05)
