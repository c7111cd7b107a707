"""How far a run is, from its directory alone: also one that runs on another machine.

Reads what the driver appends to the run's log. A run that says nothing for long, not even that it
is alive, counts as dead; on the driver's own host the process is looked for as well. The driver
may be killed while it writes, be of another version, or share its directory with another program:
what does not fit the schema of its event is left out and counted.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console
from rich.table import Table

from raypose.errors import one_line
from raypose.report.terminal import duration
from raypose.storage.run_log import HEARTBEAT_S, read_events
from raypose.text import markup, shown
from raypose.video.frames import describe

_SILENT_S = 8 * HEARTBEAT_S

State = Literal["starting", "running", "ended", "stopped", "dead"]
_Number = Annotated[int, Field(ge=0, le=2**53)]
_FrameStatus = Annotated[str, Field(pattern="^(ok|suspect|corrupt|missing)$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Event(_Strict):
    event: str
    time: float
    damaged: dict[str, dict[_FrameStatus, _Number]] = {}


class _Planned(_Event):
    host: str = ""
    pid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class _Started(_Event):
    on: str
    tasks: dict[str, _Number] = {}
    n_frames: _Number = 0


class _Alive(_Event):
    running: dict[str, Annotated[list[_Number], Field(min_length=3, max_length=3)]]


class _TaskStarted(_Event):
    task: str


class _Failed(_Strict):
    path: str
    message: str
    hint: str
    skipped: bool


class _Facts(_Strict):
    n_frames: _Number = 0


class _TaskFinished(_Event):
    task: str
    kind: str
    subject: str
    n_outputs: _Number = 1
    facts: _Facts
    failures: list[_Failed] = []


_SCHEMAS: Mapping[str, type[_Event]] = {
    "planned": _Planned,
    "started": _Started,
    "alive": _Alive,
    "task started": _TaskStarted,
    "task finished": _TaskFinished,
}


@dataclass
class RunStatus:
    """How far a run is. Times are seconds since the epoch; tasks are counted by kind."""

    run_dir: Path
    state: State = "starting"  # until its workers are ready; `dead`: the driver is gone silently
    on: str = ""  # what it runs on
    began: float = 0.0
    last: float = 0.0  # when it was last heard of
    total: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)  # well
    failed: Counter[str] = field(default_factory=Counter)  # or skipped because of one that failed
    running: dict[str, tuple[int, int]] = field(default_factory=dict)  # frames done, to do
    n_frames: int = 0  # to predict, counted once per model
    n_predicted: int = 0  # so far, those of running tasks included
    failures: list[str] = field(default_factory=list)  # sentences, in the order of events
    n_unreadable: int = 0  # lines of the log that are no events, and are left out
    damaged: dict[str, Mapping[str, int]] = field(default_factory=dict)  # frames of each status

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
    """The status of the latest run in a run directory; an OutputError if it is none.

    `now` is in seconds since the epoch; the present where None.
    """
    status, driver = RunStatus(run_dir), _Planned(event="", time=0.0)
    in_flight: dict[str, int] = {}
    unreadable: list[object] = []
    for content in read_events(run_dir, unreadable.append):
        try:
            event = _SCHEMAS.get(content["event"], _Event).model_validate(content)
        except ValidationError:
            unreadable.append(content)
            continue
        if isinstance(event, _Planned):
            status, driver = RunStatus(run_dir, began=event.time), event
            in_flight.clear()
            unreadable.clear()
        status.last = event.time
        status.damaged.update(event.damaged)
        _apply(event, status, in_flight)
    status.n_unreadable = len(unreadable)
    status.n_predicted += sum(in_flight.values())
    if status.state in ("starting", "running"):
        silent_s = (time.time() if now is None else now) - status.last
        if silent_s > _SILENT_S or _is_gone(driver):
            status.state = "dead"
    else:
        status.running.clear()
    return status


def _apply(event: _Event, status: RunStatus, in_flight: dict[str, int]) -> None:
    """Bring a status up to date, and the frames that running tasks have predicted."""
    match event:
        case _Started():
            status.state, status.on, status.began = "running", event.on, event.time
            status.total, status.n_frames = Counter(event.tasks), event.n_frames
        case _Alive():
            in_flight.clear()
            status.running.clear()
            for task, (n_done, n_total, n_outputs) in event.running.items():
                status.running[task] = n_done, n_total
                if task.startswith("predict/"):
                    in_flight[task] = n_done * n_outputs
        case _TaskStarted():
            status.running.setdefault(event.task, (0, 0))
        case _TaskFinished():
            status.running.pop(event.task, None)
            in_flight.pop(event.task, None)
            (status.failed if event.failures else status.done)[event.kind] += 1
            if event.kind == "predict":
                n_members = max(0, event.n_outputs - len(event.failures))
                status.n_predicted += n_members * event.facts.n_frames
            status.failures += [
                f"{event.subject}: {one_line(failed.path, failed.message, failed.hint)}"
                for failed in event.failures
                if not failed.skipped
            ]
        case _Event(event="stopped"):
            status.state = "stopped"
        case _Event(event="ended") if status.state != "stopped":
            status.state = "ended"


def _is_gone(driver: _Planned) -> bool:
    """True where the driver ran on this host and does so no more."""
    if driver.host != socket.gethostname() or not driver.pid:
        return False
    try:
        os.kill(driver.pid, 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)
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
        missing = f"{lines} of the log can't be read; what they said is missing"
        console.print(f"[yellow]note[/] {missing}")
    for failure in status.failures:
        console.print(f"[red]failed[/] {markup(failure)}")
