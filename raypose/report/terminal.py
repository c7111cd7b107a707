"""The terminal: a live display of a run, and the tables of `plan` and of the end.

`live_display` gives bars where the output is a terminal and plain lines where it is none. Both
are told what happens through the `Display` contract and know nothing of executors.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from raypose.specs import Progress as Word
from raypose.steps import Summary, Task
from raypose.text import markup

if TYPE_CHECKING:
    from raypose.planning import Plan, Problem
    from raypose.results import Display

_PLAIN_EVERY_S = 5.0

# Frames of a task that does not know them yet (those of tables that are read).
_UNKNOWN_FRAMES = 10_000


def live_display(console: Console) -> Display:
    """Bars on a terminal; lines in a file and in a notebook."""
    bars = console.is_terminal and not console.is_jupyter
    return LiveDisplay(console) if bars else PlainDisplay(console)


def _work(task: Task) -> float:
    """What a task weighs in the overall bar, in frames of prediction."""
    members = len(task.outputs) if task.gpu else 1
    return (task.n_frames or _UNKNOWN_FRAMES) * members * task.step.frame_cost


@dataclass
class _Pace:
    """Frames per second of a running task, from its words."""

    since: float
    n_done: int = 0
    at: float = 0.0

    @property
    def fps(self) -> float:
        return self.n_done / (self.at - self.since) if self.at > self.since else 0.0


class _Tally:
    """What both displays count: work done, tasks running, things made and failed."""

    def __init__(self) -> None:
        self.total = 0.0
        self.done = 0.0
        self.n_tasks = 0
        self.n_finished = 0
        self.n_failed = 0
        self.began = time.monotonic()
        self.running: dict[str, tuple[Task, _Pace]] = {}

    def start(self, tasks: Sequence[Task]) -> None:
        self.total = sum(_work(task) for task in tasks)
        self.n_tasks = len(tasks)
        self.began = time.monotonic()

    def word(self, task: Task, word: Word) -> None:
        now = time.monotonic()
        _, pace = self.running.setdefault(task.id, (task, _Pace(now)))
        pace.n_done, pace.at = word.n_done, now

    def finish(self, task: Task, summary: Summary) -> None:
        self.running.pop(task.id, None)
        self.done += _work(task)
        self.n_finished += 1
        self.n_failed += any(not failure.skipped for failure in summary.failures)

    @property
    def reached(self) -> float:
        """Work done, that of running tasks included."""
        part = sum(
            _work(task) * min(1.0, pace.n_done / task.n_frames)
            for task, pace in self.running.values()
            if task.n_frames
        )
        return self.done + part

    @property
    def remaining_s(self) -> float | None:
        elapsed = time.monotonic() - self.began
        if self.reached <= 0 or elapsed < 1:
            return None
        return elapsed * (self.total - self.reached) / self.reached


class LiveDisplay:
    """An overall bar with the time to go, and a line for each running task with its frames/s."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally = _Tally()
        self._overall = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._lines = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[fps]}"),
            console=console,
        )
        self._bar: TaskID | None = None
        self._rows: dict[str, TaskID] = {}
        self._live: Live | None = None

    def planned(self, plan: Plan) -> None:
        print_problems(self._console, plan.problems)
        if plan.done:
            return
        self._bar = self._overall.add_task("starting", total=None)
        self._live = Live(
            Group(self._overall, self._lines), console=self._console, refresh_per_second=8
        )
        self._live.start()

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self._tally.start(tasks)
        self._console.print(f"Running on {markup(description)}")
        if self._bar is not None:
            self._overall.reset(self._bar, total=self._tally.total, description="overall")

    def progress(self, task: Task, progress: Word) -> None:
        self._tally.word(task, progress)
        if task.id not in self._rows:
            label = f"{task.step.name:<8} {markup(task.subject)}"
            self._rows[task.id] = self._lines.add_task(label, total=task.n_frames or None, fps="")
        fps = self._tally.running[task.id][1].fps
        shown = f"{fps:,.0f} frames/s" if fps else ""
        self._lines.update(self._rows[task.id], completed=progress.n_done, fps=shown)
        self._update()

    def finished(self, task: Task, summary: Summary) -> None:
        self._tally.finish(task, summary)
        if task.id in self._rows:
            self._lines.remove_task(self._rows.pop(task.id))
        _print_failures(self._console, task, summary)
        self._update()

    def _update(self) -> None:
        if self._bar is not None:
            self._overall.update(self._bar, completed=self._tally.reached)

    def ended(self) -> None:
        if self._live is not None:
            for row in self._rows.values():
                self._lines.remove_task(row)
            self._rows.clear()
            self._live.stop()
            self._live = None


class PlainDisplay:
    """A line every few seconds: for log files and batch systems."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tally = _Tally()
        self._last = 0.0

    def planned(self, plan: Plan) -> None:
        print_problems(self._console, plan.problems)
        if not plan.done:
            self._console.print(
                f"{plan.n_pending_videos} of {plan.n_videos} videos to do; starting"
            )

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self._tally.start(tasks)
        self._console.print(f"Running on {markup(description)}: {len(tasks)} tasks")

    def progress(self, task: Task, progress: Word) -> None:
        self._tally.word(task, progress)
        self._line()

    def finished(self, task: Task, summary: Summary) -> None:
        self._tally.finish(task, summary)
        _print_failures(self._console, task, summary)
        self._line()

    def _line(self) -> None:
        now = time.monotonic()
        if now - self._last < _PLAIN_EVERY_S:
            return
        self._last = now
        tally = self._tally
        share = tally.reached / tally.total if tally.total else 0.0
        left = "" if tally.remaining_s is None else f", {duration(tally.remaining_s)} left"
        running = "; ".join(
            f"{task.step.name} {markup(task.subject)} {pace.n_done}/{task.n_frames or '?'}"
            + (f" {pace.fps:,.0f} frames/s" if pace.fps else "")
            for task, pace in tally.running.values()
        )
        failed = f", {tally.n_failed} failed" if tally.n_failed else ""
        line = f"{share:4.0%} {tally.n_finished}/{tally.n_tasks} tasks{failed}{left}"
        self._console.print(f"{line} | {running}" if running else line)

    def ended(self) -> None:
        """Nothing is held open."""


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Errors, and notes with what raypose does about them."""
    for problem in problems:
        mark = "[red]error[/]" if problem.fatal else "[yellow]note[/]"
        hint = f". {problem.hint}" if problem.hint else ""
        console.print(f"{mark} {markup(f'{problem.subject}: {problem.message}{hint}')}")


def _print_failures(console: Console, task: Task, summary: Summary) -> None:
    for failure in dict.fromkeys(summary.failures):
        if not failure.skipped:
            console.print(
                f"[red]failed[/] {task.step.name} {markup(task.subject)}: {markup(str(failure))}"
            )
    for warning in summary.warnings:
        console.print(f"[yellow]note[/] {markup(task.subject)}: {markup(warning)}")


def duration(seconds: float) -> str:
    """Seconds for people: `3 s`, `2 min 05 s`, `1 h 10 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute:02d} min"
    return f"{minute} min {second:02d} s" if minute else f"{second} s"
