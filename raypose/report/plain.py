"""The display for log files and batch systems: a line per minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from raypose.report.display import RunDisplay
from raypose.report.tally import Running
from raypose.report.terminal import duration
from raypose.specs import Progress
from raypose.steps import Summary, Task
from raypose.text import markup

_EVERY_S = 60.0
_MOST_RUNNING = 4


class PlainDisplay(RunDisplay):
    """Says what it waits for, then how far it is, once per minute."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._last = clock()
        self._waits_for = ""

    def waiting(self, what: str) -> None:
        if what != self._waits_for:
            self._waits_for = what
            self._console.print(markup(what))

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        super().started(description, tasks)
        self._last = self._clock()
        self._console.print(f"Running on {markup(description)}: {len(tasks)} tasks")

    def progress(self, task: Task, progress: Progress) -> None:
        super().progress(task, progress)
        self._line()

    def finished(self, task: Task, summary: Summary) -> None:
        super().finished(task, summary)
        self._line()

    def _line(self) -> None:
        if self._clock() - self._last < _EVERY_S:
            return
        self._last = self._clock()
        tally = self._tally
        failed = f", {tally.n_failed} failed" if tally.n_failed else ""
        left = "" if tally.left_s is None else f", about {duration(tally.left_s)} left"
        line = (
            f"after {duration(tally.elapsed_s)}: {tally.share:.0%}, "
            f"{tally.n_finished} of {tally.n_tasks} tasks{failed}{left}"
        )
        running = [self._far(r) for r in tally.running.values()]
        if len(running) > _MOST_RUNNING:
            running[_MOST_RUNNING:] = [f"and {len(running) - _MOST_RUNNING} more"]
        self._console.print(markup(f"{line} | {'; '.join(running)}" if running else line))

    def _far(self, running: Running) -> str:
        task = running.task
        done = f"{running.n_done:,} of {task.n_frames:,} frames" if task.n_frames else ""
        pace = f", {running.frames_per_s:,.0f} frames/s" if running.frames_per_s else ""
        return f"{task.step.name} {self._names.subject(task.subject)} {done}{pace}".rstrip()
