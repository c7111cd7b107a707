"""How far a run is, from its directory alone: also one that runs on another machine.

Reads what the driver appends to the run's log. A run that says nothing for long, not even that it
is alive, counts as dead; on the driver's own host the process is looked for as well.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from raypose.errors import one_line
from raypose.report.events import fitting_events
from raypose.report.terminal import duration
from raypose.storage.run_log import HEARTBEAT_S
from raypose.text import markup, shown
from raypose.video.frames import describe

State = Literal["starting", "running", "ended", "stopped", "dead"]

_SILENT_S = 8 * HEARTBEAT_S


@dataclass
class RunStatus:
    """How far a run is.

    Attributes:
        run_dir: its directory.
        state: `starting` until its workers are ready; `dead` where the driver is gone without a
            word.
        on: what it runs on.
        began: seconds since the epoch.
        last: when it was last heard of, seconds since the epoch.
        total: tasks by kind.
        done: tasks that went well, by kind.
        failed: tasks that failed or were skipped because of one that failed, by kind.
        running: task → frames done, frames to do.
        n_frames: frames to predict, once a model.
        n_predicted: frames predicted so far, those of running tasks included.
        failures: sentences, in the order in which they happened.
        n_unreadable: lines of the log that are no events, and are left out.
        damaged: videos with frames that are not ok: path → number of frames of each status.
    """

    run_dir: Path
    state: State = "starting"
    on: str = ""
    began: float = 0.0
    last: float = 0.0
    total: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    running: dict[str, tuple[int, int]] = field(default_factory=dict)
    n_frames: int = 0
    n_predicted: int = 0
    failures: list[str] = field(default_factory=list)
    n_unreadable: int = 0
    damaged: dict[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def left(self) -> Counter[str]:
        """Tasks that are still to do, by kind."""
        return self.total - self.done - self.failed

    @property
    def frames_per_s(self) -> float:
        """Frames predicted a second since the workers were ready, once a model."""
        seconds = self.last - self.began
        return self.n_predicted / seconds if seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the pace so far; None where nothing can be said."""
        if self.state != "running" or not self.frames_per_s:
            return None
        return (self.n_frames - self.n_predicted) / self.frames_per_s


def read_status(run_dir: Path, *, now: float | None = None) -> RunStatus:
    """The status of the latest run in a run directory.

    Args:
        run_dir: the directory with `events.jsonl`.
        now: seconds since the epoch; the present where None.

    Raises:
        OutputError: it is not the directory of a run.
    """
    status = RunStatus(run_dir)
    driver: Mapping[str, Any] = {}
    in_flight: dict[str, int] = {}
    unreadable: list[object] = []
    for event in fitting_events(run_dir, unreadable.append):
        name = event["event"]
        if name == "planned":
            status, driver, in_flight = RunStatus(run_dir, began=event["time"]), event, {}
            unreadable.clear()
        status.last = event["time"]
        status.damaged.update(event.get("damaged", {}))
        if name == "started":
            status.state, status.on = "running", event["on"]
            status.began = event["time"]
            status.total = Counter(event.get("tasks", {}))
            status.n_frames = event.get("n_frames", 0)
        elif name == "alive":
            running: Mapping[str, list[int]] = event["running"]
            status.running = {task: (words[0], words[1]) for task, words in running.items()}
            in_flight = {
                task: n_done * n_outputs
                for task, (n_done, _, n_outputs) in running.items()
                if task.startswith("predict/")
            }
        elif name == "task started":
            status.running.setdefault(event["task"], (0, 0))
        elif name == "task finished":
            status.running.pop(event["task"], None)
            in_flight.pop(event["task"], None)
            _count(status, event)
        elif name == "stopped":
            status.state = "stopped"
        elif name == "ended" and status.state != "stopped":
            status.state = "ended"
    status.n_unreadable = len(unreadable)
    status.n_predicted += sum(in_flight.values())
    if status.state in ("starting", "running"):
        silent_s = (time.time() if now is None else now) - status.last
        if silent_s > _SILENT_S or _is_gone(driver):
            status.state = "dead"
    else:
        status.running.clear()
    return status


def _count(status: RunStatus, event: Mapping[str, Any]) -> None:
    failures = event.get("failures", ())
    kind = event["kind"]
    (status.failed if failures else status.done)[kind] += 1
    if kind == "predict":
        members = max(0, event.get("n_outputs", 1) - len(failures))
        status.n_predicted += members * int(event["facts"].get("n_frames", 0))
    status.failures += [
        f"{event['subject']}: {one_line(f['path'], f['message'], f['hint'])}"
        for f in failures
        if not f["skipped"]
    ]


def _is_gone(driver: Mapping[str, Any]) -> bool:
    """True where the driver ran on this host and does so no more."""
    if driver.get("host") != socket.gethostname() or not driver.get("pid"):
        return False
    try:
        os.kill(int(driver["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


_WORDS: Mapping[State, str] = {
    "starting": "is starting",
    "running": "is running",
    "ended": "has ended",
    "stopped": "was stopped; the same command goes on from there",
    "dead": "has died; the same command goes on from there",
}


def print_status(console: Console, status: RunStatus) -> None:
    """A line on the whole, a table by kind of task, what runs, and what failed."""
    where = f" on {status.on}" if status.on and status.state == "running" else ""
    console.print(shown(f"{status.run_dir} {_WORDS[status.state]}{where}"), markup=False)
    if status.state in ("starting", "running", "dead"):
        ago = max(0.0, time.time() - status.last)
        console.print(f"last heard of {duration(ago)} ago")
    if status.n_frames:
        remaining = status.remaining_s
        left = "" if remaining is None else f", about {duration(remaining)} left"
        console.print(
            f"{status.n_predicted:,} of {status.n_frames:,} frames predicted, "
            f"{status.frames_per_s:,.0f} frames/s{left}"
        )
    if status.total:
        table = Table("task", "done", "failed", "left", box=None)
        for kind in status.total:
            counts = (status.done[kind], status.failed[kind], status.left[kind])
            table.add_row(markup(kind), *map(str, counts))
        console.print(table)
    for task, (n_done, n_total) in status.running.items():
        far = f" {n_done:,}/{n_total:,} frames" if n_total else ""
        console.print(f"  {markup(task)}{far}")
    for path, frames in status.damaged.items():
        console.print(f"[yellow]damaged[/] {markup(f'{path}: {describe(frames)}')}")
    if status.n_unreadable:
        lines = "1 line" if status.n_unreadable == 1 else f"{status.n_unreadable} lines"
        console.print(
            f"[yellow]note[/] {lines} of the log can't be read; what they said is missing"
        )
    for failure in status.failures:
        console.print(f"[red]failed[/] {markup(failure)}")
