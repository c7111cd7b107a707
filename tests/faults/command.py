"""`raypose run` as a user starts it: in a session of its own, with its output in a file."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from raypose.storage.run_log import read_events
from tests.faults.processes import MARK, by_role, kill_all, processes_of, send, wait_until_none

TIMEOUT_S = 300.0
"""After which a command counts as hanging."""

_GONE_S = 25.0  # within which all processes of a run have ended after it


class Command:
    """A command, and all processes that it starts.

    Args:
        arguments: of `raypose`.
        out: the output folder.
        log: file for what it prints.
        environment: what is added to this process's environment.
        within: program in which it runs, such as `timeout 5`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        out: Path,
        log: Path,
        environment: dict[str, str],
        within: Sequence[str] = (),
    ) -> None:
        self.out, self._log = out, log
        self.frozen: list[int] = []  # stopped processes, which go on when the command has ended
        self._mark = secrets.token_hex(8)
        outside = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "raypose", *arguments],
                env={**outside, **environment, MARK: self._mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # What runs in a shell's background ignores Ctrl-C, and so would this.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def pids(self) -> list[int]:
        """All its living processes."""
        return processes_of(self.process.pid, self._mark)

    def roles(self) -> dict[str, list[int]]:
        log = self.out / "raypose" / "events.jsonl"
        events = log.read_text(errors="replace") if log.exists() else ""
        return by_role(self.process.pid, self.pids(), events)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Events of one name in the log of the output folder, of earlier runs too."""
        folder = self.out / "raypose"
        if not (folder / "events.jsonl").exists():
            return []
        return [event for event in read_events(folder) if event["event"] == name]

    def wait_until(self, what: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
        """Wait for a true value of `what`, and return it; the last one once the command ends."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = what()
            if found or self.ended or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def wait(self, seconds: float) -> bool:
        """Wait for some seconds, or until it ends; whether it still runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def signal(self, what: signal.Signals) -> bool:
        """Send a signal to the driver alone; False if it has ended."""
        return not self.ended and send(self.process.pid, what)

    def signal_all(self, what: signal.Signals) -> bool:
        """Send a signal to all its processes, as a terminal that closes does."""
        return any([send(pid, what) for pid in self.pids()])

    def finish(self, timeout_s: float = TIMEOUT_S) -> int | None:
        """Wait for its end; returns the exit code, or None if it hung and was killed."""
        if self.wait(timeout_s):
            self.kill()
            return None
        return self.process.returncode

    def left_processes(self) -> list[str]:
        """What has not ended with the command; it is killed."""
        for pid in self.frozen:
            send(pid, signal.SIGCONT)  # a stopped process can't see that it should end
        left = wait_until_none(self.pids, _GONE_S)
        self.kill()
        return left

    def kill(self) -> None:
        kill_all(self.pids)
        self.process.wait()
