"""Whether a process that left something behind (a claim, a temporary file) still runs.

A process id means something on one machine since its last start, and in one namespace of
processes: machines, and containers on one, may have the same name.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def this_machine() -> str:
    """Host, boot and process namespace; where these are equal, a process id means the same.

    It ends in a random word where they can't be told, and so equals no other.
    """
    host = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{host}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{host}/{secrets.token_hex(8)}"


def start_of(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty where that is not told."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # with the program's name
    except OSError:
        return ""
    values = status.rpartition(")")[2].split()
    return "" if values[0] in "ZX" else values[19]  # it has ended, and its parent has not asked


def has_ended(pid: int, started: str | None = None) -> bool:
    """Whether no process of this machine has this id, or one that started at another time."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it is another user's
        return False
    return started is not None and start_of(pid) != started
