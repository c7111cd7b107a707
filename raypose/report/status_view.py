"""`raypose status` in words, once or until the run is over."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raypose.report.folding import Folded
from raypose.report.names import ShortNames
from raypose.report.status import RunningTask, RunStatus, State, read_status
from raypose.report.terminal import duration, sentence
from raypose.text import markup, shown
from raypose.video.frames import describe

_REFRESH_S = 2.0
_REST = 4  # times as long as reading took
_TELL_EVERY_S = 60.0  # where the output is no terminal
_MOST_NAMED = 20  # damaged videos, and failures: what runs must stay in sight

_WORDS: Mapping[State, str] = {
    "starting": "is starting",
    "running": "is running",
    "waiting": "is waiting for new videos",
    "ended": "has ended",
    "stopped": "was stopped; the same command goes on from there",
    "dead": "has died; the same command goes on from there",
}


def print_status(console: Console, status: RunStatus, *, now: float | None = None) -> None:
    """A line on the whole, a table by kind of task, what runs, and what failed."""
    for part in status_parts(status, time.time() if now is None else now):
        console.print(part)


def status_parts(status: RunStatus, now: float) -> list[RenderableType]:
    """What `print_status` prints; `now` is seconds since the epoch."""
    names = ShortNames(str(status.run_dir.parent))
    where = f" on {status.on}" if status.on and status.state == "running" else ""
    run = names.from_here(str(status.run_dir))
    parts: list[RenderableType] = [Folded(shown(f"{run} {_WORDS[status.state]}{where}"))]
    if status.stopped_by:
        parts.append(sentence("stopped by", "yellow", status.stopped_by))
    if status.state == "running" and status.waits_for:
        parts.append(Folded(shown(status.waits_for)))
    if status.state in ("starting", "running", "waiting", "dead"):
        parts.append(f"last heard of {duration(max(0.0, now - status.last))} ago")
    if status.n_frames:
        remaining = status.remaining_s
        left = "" if remaining is None else f", about {duration(remaining)} left"
        parts.append(
            f"{status.n_predicted:,} of {status.n_frames:,} frames predicted, "
            f"{status.frames_per_s:,.0f} frames/s{left}"
        )
    if status.total:
        table = Table("task", "done", "failed", "left", box=None)
        for kind in status.total:
            counts = (status.done[kind], status.failed[kind], status.left[kind])
            table.add_row(markup(kind), *map(str, counts))
        parts.append(table)
    parts += [_running(name, task, status, now) for name, task in status.running.items()]
    worst = sorted(status.damaged.items(), key=lambda item: -_n_bad(item[1]))
    damaged = [f"{names.path(path)}: {describe(frames)}" for path, frames in worst]
    parts += _named("damaged", "yellow", damaged, "videos with damaged frames")
    if status.n_unreadable:
        lines = "1 line" if status.n_unreadable == 1 else f"{status.n_unreadable} lines"
        missing = f"{lines} of the log can't be read; what they said is missing"
        parts.append(sentence("note", "yellow", missing))
    failures = status.failures
    parts += _named("failed", "red", failures, "failures")
    if max(len(worst), len(failures)) > _MOST_NAMED:
        parts.append(Folded(f"All of them: raypose report {shown(shlex.quote(run))}"))
    return parts


def _named(word: str, style: str, sentences: Sequence[str], what: str) -> list[RenderableType]:
    """The first sentences, and how many more there are."""
    parts: list[RenderableType] = [sentence(word, style, said) for said in sentences[:_MOST_NAMED]]
    if len(sentences) > _MOST_NAMED:
        parts.append(f"… and {len(sentences) - _MOST_NAMED:,} more {what}")
    return parts


def _n_bad(frames: Mapping[str, int]) -> int:
    return sum(n for status, n in frames.items() if status != "ok")


def _running(name: str, task: RunningTask, status: RunStatus, now: float) -> RenderableType:
    """What a worker does, and whether it still does anything."""
    far = f" {min(task.n_done, task.n_total):,} of {task.n_total:,} frames" if task.n_total else ""
    said = Text(f"  {shown(name + far)}")
    if task.worker:
        said.append(f" on {shown(task.worker)}", "dim")
    if stalled_s := status.stalled_s(task, now):
        said.append(f"  no sign of life for {duration(stalled_s)}: it may hang", "yellow")
    return Folded(said, hanging=True)


def follow_status(
    console: Console,
    run_dir: Path,
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> RunStatus:
    """Show how far a run is until it is over: drawn anew on a terminal, else a line per minute.

    Raises:
        UsageError: it is not the directory of a run.
    """
    began = time.perf_counter()
    status, told = read_status(run_dir), float("-inf")
    on_terminal = console.is_terminal and not console.is_jupyter
    with (
        Live(console=console, auto_refresh=False, transient=True)
        if on_terminal
        else (nullcontext()) as live
    ):
        while not status.is_over:
            if live is not None:
                live.update(Group(*status_parts(status, clock())), refresh=True)
            elif clock() - told >= _TELL_EVERY_S:
                told = clock()
                n_done, n_total = sum(status.done.values()), sum(status.total.values())
                console.print(
                    f"{_WORDS[status.state]}: {n_done} of {n_total} tasks, {status.n_predicted:,} "
                    f"of {status.n_frames:,} frames, {sum(status.failed.values())} failed"
                )
            # A log of hundreds of thousands of events takes seconds to read.
            sleep(max(_REFRESH_S, _REST * (time.perf_counter() - began)))
            began = time.perf_counter()
            status = read_status(run_dir)
    print_status(console, status, now=clock())
    return status
