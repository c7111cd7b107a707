"""How far a run is, from its directory alone: also one that runs on another machine.

Reads what the driver appends to the run's log. A run that says nothing for long, not even that it
is alive, counts as dead; on the driver's own host the process is looked for as well. The driver
may be killed while it writes, be of another version, or share its directory with another program:
what does not fit the schema of its event is left out and counted.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raypose.errors import one_line
from raypose.storage import run_log
from raypose.storage.processes import has_ended

_SILENT_S = 8 * run_log.HEARTBEAT_S
_STALLED_S = 90.0  # three of the signs that a worker gives while it is busy

State = Literal["starting", "running", "waiting", "ended", "stopped", "dead"]
_Number = Annotated[int, Field(ge=0, le=2**53)]
_FrameStatus = Annotated[str, Field(pattern="^(ok|suspect|corrupt|missing)$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Event(_Strict):
    event: str
    time: float
    # A factory is twice as fast as a default, which is copied for each event.
    damaged: dict[str, dict[_FrameStatus, _Number]] = Field(default_factory=dict)


class _Planned(_Event):
    host: str = ""
    pid: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    continues: bool = False


class _Started(_Event):
    on: str
    tasks: dict[str, _Number] = {}
    n_frames: _Number = 0


class _Running(_Strict):
    n_done: _Number
    n_total: _Number
    n_outputs: _Number = 1
    worker: str = ""
    silent_s: Annotated[float, Field(ge=0, le=1e9)] = 0.0


class _Waiting(_Event):
    what: str


class _Replanned(_Event):
    dropped: dict[str, _Number]
    added: dict[str, _Number]
    n_frames: Annotated[int, Field(ge=-(2**53), le=2**53)]


class _Alive(_Event):
    running: dict[str, _Running]


class _TaskStarted(_Event):
    task: str
    worker: str = ""


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
    n_made: _Number = 1
    facts: _Facts
    failures: list[_Failed] = []


class _Problem(_Strict):
    subject: str
    message: str
    hint: str = ""
    fatal: bool = False


class _Stopped(_Event):
    error: str = ""


class _Ended(_Event):
    watching: bool = False


_SCHEMAS: Mapping[str, type[_Event]] = {
    "planned": _Planned,
    "started": _Started,
    "waiting": _Waiting,
    "replanned": _Replanned,
    "alive": _Alive,
    "task started": _TaskStarted,
    "task finished": _TaskFinished,
    "stopped": _Stopped,
    "ended": _Ended,
}


@dataclass(frozen=True)
class RunningTask:
    """A task that runs, as last heard of; frames are 0 where they are not known."""

    n_done: int = 0
    n_total: int = 0
    worker: str = ""
    silent_s: float = 0.0  # since its worker said anything


@dataclass
class RunStatus:
    """How far a run is. Times are seconds since the epoch; tasks are counted by kind."""

    run_dir: Path
    # Starting until its workers are ready; waiting for new videos; dead: the driver is gone.
    state: State = "starting"
    stopped_by: str = ""  # the error that stopped it; empty where a user did
    on: str = ""  # what it runs on
    waits_for: str = ""  # other runs, in words, where it does nothing else
    began: float = 0.0
    last: float = 0.0  # when it was last heard of
    total: Counter[str] = field(default_factory=Counter)
    ended: dict[str, tuple[str, bool]] = field(default_factory=dict)  # tasks: kind, and if well
    running: dict[str, RunningTask] = field(default_factory=dict)
    n_frames: int = 0  # to predict, counted once per model
    predicted: dict[str, int] = field(default_factory=dict)  # frames of each task so far
    problems: list[str] = field(default_factory=list)  # what can't be run at all, as sentences
    failed_tasks: dict[str, list[str]] = field(default_factory=dict)  # id → sentences
    n_unreadable: int = 0  # lines of the log that are no events, and are left out
    damaged: dict[str, Mapping[str, int]] = field(default_factory=dict)  # frames of each status

    @property
    def done(self) -> Counter[str]:
        """Tasks that have ended well, by kind."""
        return Counter(kind for kind, well in self.ended.values() if well)

    @property
    def failed(self) -> Counter[str]:
        """Tasks that have failed, or were skipped because of one that failed, by kind."""
        return Counter(kind for kind, well in self.ended.values() if not well)

    @property
    def failures(self) -> list[str]:
        """Everything that failed, as sentences."""
        return [*self.problems, *(text for of in self.failed_tasks.values() for text in of)]

    @property
    def left(self) -> Counter[str]:
        """Tasks that are still to do, by kind."""
        return self.total - self.done - self.failed

    @property
    def n_predicted(self) -> int:
        """Frames predicted so far. A task that is redone counts once."""
        n = sum(self.predicted.values())
        return min(n, self.n_frames) if self.n_frames else n

    @property
    def frames_per_s(self) -> float:
        """Frames predicted per second since the workers were ready, counted once per model."""
        seconds = self.last - self.began
        return self.n_predicted / seconds if seconds > 0 else 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds to go at the pace so far; None where nothing can be said."""
        if self.state != "running" or not self.frames_per_s:
            return None
        return (self.n_frames - self.n_predicted) / self.frames_per_s

    @property
    def is_over(self) -> bool:
        return self.state in ("ended", "stopped", "dead")

    def stalled_s(self, task: RunningTask, now: float) -> float:
        """For how many seconds a worker has given no sign of life; 0 where that means nothing.

        A worker on Ray gives one at least every half minute while it computes, reads or writes.
        """
        silent_s = task.silent_s + max(0.0, now - self.last)
        is_inline = self.on.startswith("this process")
        return silent_s if silent_s > _STALLED_S and not is_inline else 0.0


def read_status(run_dir: Path, *, now: float | None = None) -> RunStatus:
    """The status of the latest run in a run directory; a UsageError if it is none.

    `run_dir` is the directory with `events.jsonl`, or the `-o` that it lies in. `now` is in
    seconds since the epoch; the present where None.
    """
    run_dir = run_log.find_run_dir(run_dir)
    status, driver = RunStatus(run_dir), _Planned(event="", time=0.0)
    unreadable: list[object] = []
    for content in run_log.read_events(run_dir, unreadable.append):
        try:
            event = _SCHEMAS.get(content["event"], _Event).model_validate(content)
        except ValidationError:
            unreadable.append(content)
            continue
        if isinstance(event, _Planned):
            before, status = status, RunStatus(run_dir, began=event.time)
            if event.continues:
                status.failed_tasks, status.damaged = before.failed_tasks, before.damaged
            driver = event
            unreadable.clear()
        status.last = event.time
        status.damaged.update(event.damaged)
        _apply(event, status)
    status.n_unreadable = len(unreadable)
    status.problems = list(_fatal_problems(run_dir))
    if status.state == "waiting":
        status.running.clear()
        status.state = "ended" if _is_gone(driver) else "waiting"
    elif not status.is_over:
        silent_s = (time.time() if now is None else now) - status.last
        if silent_s > _SILENT_S or _is_gone(driver):
            status.state = "dead"
    else:
        status.running.clear()
    return status


def _apply(event: _Event, status: RunStatus) -> None:
    """Bring a status up to date."""
    match event:
        case _Started():
            status.state, status.on, status.began = "running", event.on, event.time
            status.total, status.n_frames = Counter(event.tasks), event.n_frames
        case _Waiting():
            status.waits_for = event.what
        case _Replanned():
            status.waits_for = ""
            status.total.subtract(event.dropped)
            status.total.update(event.added)
            status.n_frames = max(0, status.n_frames + event.n_frames)
        case _Alive():
            status.running.clear()
            for name, task in event.running.items():
                status.running[name] = RunningTask(
                    task.n_done, task.n_total, task.worker, task.silent_s
                )
                if name.startswith("predict/") and name not in status.ended:
                    status.predicted[name] = task.n_done * task.n_outputs
        case _TaskStarted():
            status.waits_for = ""
            status.running.setdefault(event.task, RunningTask(worker=event.worker))
        case _TaskFinished():
            status.running.pop(event.task, None)
            status.ended[event.task] = event.kind, not event.failures
            if event.kind == "predict":
                status.predicted[event.task] = event.n_made * event.facts.n_frames
            status.failed_tasks[event.task] = [
                f"{event.subject}: {one_line(failed.path, failed.message, failed.hint)}"
                for failed in event.failures
                if not failed.skipped
            ]
        case _Stopped():
            kind, _, message = event.error.partition(": ")
            status.state = "stopped"
            status.stopped_by = "" if kind == KeyboardInterrupt.__name__ else message
        case _Ended() if status.state != "stopped":
            status.state = "waiting" if event.watching else "ended"


def _fatal_problems(run_dir: Path) -> Iterator[str]:
    """What could not be planned, from the description of the run."""
    problems = run_log.read_description(run_dir).get("problems")
    for content in problems if isinstance(problems, list) else ():
        with suppress(ValidationError):
            problem = _Problem.model_validate(content)
            if problem.fatal:
                yield one_line(problem.subject, problem.message, problem.hint)


def _is_gone(driver: _Planned) -> bool:
    """True where the driver ran on this host and does so no more."""
    return driver.pid > 0 and driver.host == socket.gethostname() and has_ended(driver.pid)
