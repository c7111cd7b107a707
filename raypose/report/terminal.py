"""Consoles: of the terminal, with a live display of a run, and of a prompt or notebook.

`live_display` gives bars where the output is a terminal and plain lines where it is none. Both
are told what happens through the `Display` contract and know nothing of executors.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import progress as rich_progress
from rich.console import Console, Group
from rich.live import Live

from raypose.specs import Progress
from raypose.steps import Summary, Task
from raypose.text import markup

if TYPE_CHECKING:
    from raypose.planning import Plan, Problem
    from raypose.results import Display

_PLAIN_EVERY_S = 5.0
_WIDTH = 160
_HTML = (
    "<pre style='white-space:pre; overflow-x:auto; line-height:normal; "
    "font-family:Menlo,DejaVu Sans Mono,consolas,Courier New,monospace'>{code}</pre>"
)
_UNKNOWN_FRAMES = 10_000  # of a task that does not know them yet (those of tables that are read)


def stdout_console() -> Console:
    """The console of the standard output; in a file, lines are never broken."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, soft_wrap=True, width=1000)


def as_text(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, without colours and trailing spaces."""
    file = io.StringIO()
    print_to(Console(file=file, width=_WIDTH, highlight=False, _environ={}))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n")


def as_html(print_to: Callable[[Console], None]) -> str:
    """What a function prints to a console, as a fragment of HTML."""
    console = Console(file=io.StringIO(), width=_WIDTH, highlight=False, record=True, _environ={})
    print_to(console)
    return console.export_html(inline_styles=True, code_format=_HTML)


def live_display(console: Console) -> Display:
    """Bars on a terminal; lines in a file and in a notebook."""
    bars = console.is_terminal and not console.is_jupyter
    return LiveDisplay(console) if bars else PlainDisplay(console)


def _work(task: Task) -> float:
    """What a task weighs in the overall bar, in frames of prediction."""
    members = len(task.outputs) if task.gpu else 1
    return (task.n_frames or _UNKNOWN_FRAMES) * members * task.step.frame_cost


@dataclass
class _Running:
    """A running task, and how far it was when it last reported."""

    task: Task
    since: float
    n_done: int = 0
    at: float = 0.0

    @property
    def frames_per_s(self) -> str:
        """In words; empty where it is not known yet."""
        fps = self.n_done / (self.at - self.since) if self.at > self.since else 0.0
        return f"{fps:,.0f} frames/s" if fps else ""

    def __str__(self) -> str:
        done = f"{self.n_done}/{self.task.n_frames or '?'} {self.frames_per_s}".rstrip()
        return f"{self.task.step.name} {markup(self.task.subject)} {done}"


class _Display:
    """What both displays count and print: work done, running tasks, failures."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._n_tasks = self._n_finished = self._n_failed = 0
        self._total = self._done = 0.0
        self._running: dict[str, _Running] = {}

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self._began = time.monotonic()
        self._n_tasks = len(tasks)
        self._total = sum(_work(task) for task in tasks)

    def progress(self, task: Task, progress: Progress) -> None:
        now = time.monotonic()
        running = self._running.setdefault(task.id, _Running(task, now))
        running.n_done, running.at = progress.n_done, now
        self._refresh()

    def finished(self, task: Task, summary: Summary) -> None:
        self._running.pop(task.id, None)
        self._done += _work(task)
        self._n_finished += 1
        self._n_failed += any(not failure.skipped for failure in summary.failures)
        for failure in dict.fromkeys(summary.failures):
            if not failure.skipped:
                what = f"{task.step.name} {markup(task.subject)}: {markup(str(failure))}"
                self._console.print(f"[red]failed[/] {what}")
        for warning in summary.warnings:
            self._console.print(f"[yellow]note[/] {markup(task.subject)}: {markup(warning)}")
        self._refresh()

    def _refresh(self) -> None:
        """Show how far the run is."""
        raise NotImplementedError

    def ended(self) -> None:
        """Nothing is held open."""

    @property
    def _reached(self) -> float:
        """Work done, that of running tasks included."""
        return self._done + sum(
            _work(running.task) * min(1.0, running.n_done / running.task.n_frames)
            for running in self._running.values()
            if running.task.n_frames
        )


class LiveDisplay(_Display):
    """An overall bar with the time to go, and a line for each running task with its frames/s."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._overall = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("[bold]{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.TaskProgressColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TextColumn("left"),
            rich_progress.TimeRemainingColumn(),
            console=console,
        )
        self._lines = rich_progress.Progress(
            rich_progress.TextColumn("  {task.description}"),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[fps]}"),
            console=console,
        )
        self._bar = self._overall.add_task("starting", total=None)
        self._rows: dict[str, rich_progress.TaskID] = {}
        bars = Group(self._overall, self._lines)
        self._live = Live(bars, console=console, refresh_per_second=8)

    def planned(self, plan: Plan) -> None:
        print_problems(self._console, plan.problems)
        if not plan.done:
            self._overall.reset(self._bar)  # its time begins
            self._live.start()

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        super().started(description, tasks)
        self._console.print(f"Running on {markup(description)}")
        self._overall.reset(self._bar, total=self._total, description="overall")

    def progress(self, task: Task, progress: Progress) -> None:
        super().progress(task, progress)
        if task.id not in self._rows:
            label = f"{task.step.name:<8} {markup(task.subject)}"
            self._rows[task.id] = self._lines.add_task(label, total=task.n_frames or None, fps="")
        fps = self._running[task.id].frames_per_s
        self._lines.update(self._rows[task.id], completed=progress.n_done, fps=fps)

    def finished(self, task: Task, summary: Summary) -> None:
        if task.id in self._rows:
            self._lines.remove_task(self._rows.pop(task.id))
        super().finished(task, summary)

    def _refresh(self) -> None:
        self._overall.update(self._bar, completed=self._reached)

    def ended(self) -> None:
        for row in self._rows.values():
            self._lines.remove_task(row)
        self._rows.clear()
        self._live.stop()


class PlainDisplay(_Display):
    """A line every few seconds: for log files and batch systems."""

    _last = 0.0

    def planned(self, plan: Plan) -> None:
        print_problems(self._console, plan.problems)
        if not plan.done:
            to_do = f"{plan.n_pending_videos} of {plan.n_videos} videos to do"
            self._console.print(f"{to_do}; starting")

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        super().started(description, tasks)
        self._console.print(f"Running on {markup(description)}: {len(tasks)} tasks")

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._last < _PLAIN_EVERY_S:
            return
        self._last = now
        reached, elapsed_s = self._reached, now - self._began
        share = reached / self._total if self._total else 0.0
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        left = ""
        if reached > 0 and elapsed_s >= 1:
            left = f", {duration(elapsed_s * (self._total - reached) / reached)} left"
        line = f"{share:4.0%} {self._n_finished}/{self._n_tasks} tasks{failed}{left}"
        running = "; ".join(map(str, self._running.values()))
        self._console.print(f"{line} | {running}" if running else line)


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Errors, and notes with what raypose does about them."""
    for problem in problems:
        mark = "[red]error[/]" if problem.fatal else "[yellow]note[/]"
        hint = f". {problem.hint}" if problem.hint else ""
        console.print(f"{mark} {markup(f'{problem.subject}: {problem.message}{hint}')}")


def duration(seconds: float) -> str:
    """Seconds for people: `3 s`, `2 min 05 s`, `1 h 10 min`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minute:02d} min"
    return f"{minute} min {second:02d} s" if minute else f"{second} s"
