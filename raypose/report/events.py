"""The events of a run, for programs: in the log of the run, and on the standard output (`--json`).

docs/events.md lists them with their fields.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TextIO

from raypose.errors import Failure
from raypose.execution.events import Replanned
from raypose.specs import Progress
from raypose.steps import Summary, Task
from raypose.text import json_text

if TYPE_CHECKING:
    from raypose.planning import Plan
    from raypose.results import RunResult

_PROGRESS_EVERY_S = 1.0


def planned(plan: Plan) -> dict[str, Any]:
    """Which part of a plan is to do, and who does it."""
    return {
        "n_videos": plan.n_videos,
        "n_pending_videos": plan.n_pending_videos,
        "n_recordings": len(plan.recordings),
        "n_pending": len(plan.pending),
        "run_dir": str(plan.run_dir),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "damaged": {path: dict(counts) for path, counts in plan.damaged.items()},
    }


def started(description: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """What a run does, and on what."""
    return {
        "on": description,
        "n_tasks": len(tasks),
        "tasks": dict(Counter(task.step.name for task in tasks)),
        "n_frames": sum(task.work for task in tasks if task.gpu),
    }


def task_started(task: Task, progress: Progress) -> dict[str, Any]:
    """A task begins, or begins again on another worker."""
    about = {"kind": task.step.name, "recording": task.recording, "subject": task.subject}
    return {"task": task.id, **about, "worker": progress.worker}


def progressed(task: Task, progress: Progress) -> dict[str, Any]:
    """How far a task is, in frames."""
    far = {"n_done": progress.n_done, "n_total": progress.n_total}
    return {"task": task.id, **far, "n_outputs": len(task.outputs), "worker": progress.worker}


def worker_lost(worker: str, reason: str) -> dict[str, Any]:
    """A worker is gone; its task begins again elsewhere."""
    return {"worker": worker, "reason": reason}


def replanned(event: Replanned) -> dict[str, Any]:
    """Which tasks another run has made needless, and which take their place."""

    def n_frames(tasks: Sequence[Task]) -> int:
        return sum(task.work for task in tasks if task.gpu)

    return {
        "recording": event.recording,
        "by": event.by,
        "dropped": dict(Counter(task.step.name for task in event.dropped)),
        "added": dict(Counter(task.step.name for task in event.added)),
        "n_frames": n_frames(event.added) - n_frames(event.dropped),
    }


def task_finished(task: Task, summary: Summary, failures: Sequence[Failure]) -> dict[str, Any]:
    """What came of a task; `failures` are its own, with the subject of each."""
    found = {
        "damaged": summary.stats.get("damaged"),
        "warnings": summary.warnings,
        "failures": [asdict(failure) for failure in failures],
    }
    return {
        "task": task.id,
        "kind": task.step.name,
        "recording": task.recording,
        "subject": task.subject,
        "videos": [video.key for video in task.step.videos],
        "n_outputs": len(task.outputs),
        "n_made": summary.n_made(task),
        "work": task.work,
        "seconds": round(summary.seconds, 3),
        "worker": summary.worker,
        "made": list(summary.made),
        "facts": dict(summary.stats),
        **{name: value for name, value in found.items() if value},
    }


def result(of: RunResult) -> dict[str, Any]:
    """What came of a run."""
    return {
        "exit_code": of.exit_code,
        "run_dir": str(of.run_dir),
        "report": None if of.report is None else str(of.report),
        "made": of.made,
        "failures": [asdict(failure) for failure in of.failures],
        "skipped": of.skipped,
        "elsewhere": of.elsewhere,
        "warnings": [list(warning) for warning in of.warnings],
        "damaged": {path: dict(counts) for path, counts in of.damaged.items()},
        "n_frames": of.n_frames,
        "seconds": round(of.seconds, 3),
    }


class JsonDisplay:
    """A `Display` (see `raypose.results`) that writes one event per line.

    Args:
        file: where to; flushed after each line.
        clock: seconds, from any beginning.
    """

    def __init__(self, file: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._waits_for = ""
        self._last: dict[str, tuple[str, float]] = {}  # of each running task: worker, and when

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one event."""
        event = {"time": round(time.time(), 3), "event": name, **content}
        self._file.write(json_text(event, default=str) + "\n")
        self._file.flush()

    def planning(self) -> None:
        """The next event is that of the plan."""

    def waiting(self, what: str) -> None:
        if what != self._waits_for:
            self._waits_for = what
            self.write("waiting", {"what": what})

    def planned(self, plan: Plan) -> None:
        problems = [asdict(problem) for problem in plan.problems]
        self.write("planned", {**planned(plan), "problems": problems})

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self.write("started", started(description, tasks))

    def progress(self, task: Task, progress: Progress) -> None:
        worker, last = self._last.get(task.id, ("", 0.0))
        if worker != progress.worker:
            self.write("task started", task_started(task, progress))
        elif self._clock() - last >= _PROGRESS_EVERY_S:
            self.write("progress", progressed(task, progress))
        else:
            return
        self._last[task.id] = progress.worker, self._clock()

    def finished(self, task: Task, summary: Summary) -> None:
        self._last.pop(task.id, None)
        failures = [replace(f, subject=task.subject) for f in dict.fromkeys(summary.failures)]
        self.write("task finished", task_finished(task, summary, failures))

    def lost(self, worker: str, reason: str) -> None:
        self.write("worker lost", worker_lost(worker, reason))

    def replanned(self, event: Replanned) -> None:
        self.write("replanned", replanned(event))

    def ended(self) -> None:
        """The command writes the result."""
