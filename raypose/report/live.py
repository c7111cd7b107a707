"""The display for terminals: a bar for the whole run, and a line for each GPU and worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raypose.report.display import RunDisplay
from raypose.report.folding import Folded
from raypose.report.names import worker_labels
from raypose.report.tally import Running
from raypose.report.terminal import duration
from raypose.specs import Progress
from raypose.steps import Task
from raypose.text import markup, shown

if TYPE_CHECKING:
    from raypose.planning import Plan

_PER_S = 4  # times that it is drawn
_WIDE = 110  # from this width, a line has a bar and numbers of frames
_WIDEST = 140  # in wider ones, an eye would lose the line
_BAR = 20
_OTHER_LINES = 5  # of the terminal, beside those of workers


class LiveDisplay(RunDisplay):
    """Drawn anew several times per second, below the failures and notes; gone at the end."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self._live: Live | None = None
        self._waits_for, self._waits_since = "", 0.0
        self._has_started = False

    def planning(self) -> None:
        self.waiting("Looking at inputs and finished outputs")

    def waiting(self, what: str) -> None:
        if what != self._waits_for:
            self._waits_for, self._waits_since = what, self._clock()
        if self._live is None:
            self._live = Live(
                get_renderable=lambda: self,
                console=self._console,
                refresh_per_second=_PER_S,
                transient=True,
            )
            self._live.start()

    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        if plan.done:
            self.ended()

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        super().started(description, tasks)
        self._waits_for, self._has_started = "", True
        self._console.print(f"Running on {markup(description)}")

    def progress(self, task: Task, progress: Progress) -> None:
        self._waits_for = ""
        super().progress(task, progress)

    def ended(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, _WIDEST)
        if self._has_started:
            yield self._overall(width)
            yield Text(_fitting(self._numbers(), width - _INDENT), no_wrap=True)
            yield from self._workers(width, max(1, console.height - _OTHER_LINES))
        if self._waits_for:
            waited_s = self._clock() - self._waits_since
            since = f" ({duration(waited_s)})" if waited_s >= 1 else ""
            yield Folded(f"{shown(self._waits_for)} …{since}", hanging=True)

    def _overall(self, width: int) -> Table:
        share = self._tally.share
        line = Table.grid(padding=(0, 1), expand=True)
        line.width = width
        line.add_column()
        line.add_column(ratio=1)
        line.add_column(justify="right")
        bar = ProgressBar(total=1.0, completed=share)
        line.add_row(Text("overall", "bold"), bar, f"{share:4.0%}")
        return line

    def _numbers(self) -> list[str]:
        """What is said of the whole run, the most important first."""
        tally = self._tally
        failed = f", {tally.n_failed} failed" if tally.n_failed else ""
        said = [f"{tally.n_finished} of {tally.n_tasks} tasks{failed}"]
        if tally.left_s is not None:
            said.append(f"about {duration(tally.left_s)} left")
        said.append(f"{duration(tally.elapsed_s)} so far")
        if round(tally.frames_per_s):
            said.append(f"{tally.frames_per_s:,.0f} frames/s")
        return said

    def _workers(self, width: int, most: int) -> list[Text]:
        tally = self._tally
        workers = dict(tally.workers)  # this runs in the thread that draws
        labels = worker_labels(workers)
        names = sorted(workers, key=lambda name: "GPU" not in labels[name])
        indent = max((cell_len(label) for label in labels.values()), default=0) + 1
        lines = []
        for name in names[:most]:
            running = tally.running.get(workers[name] or "")
            label = Text(set_cell_size(labels[name], indent), "cyan")
            idle = Text("waits for work", "dim")
            lines.append(
                label + (idle if running is None else self._line(running, width - indent))
            )
        if len(names) > most:
            lines.append(Text(f"… and {len(names) - most} more workers", "dim"))
        for line in lines:
            line.no_wrap = True
        return lines

    def _line(self, running: Running, width: int) -> Text:
        """What a worker does, how far it is, and how fast."""
        task = running.task
        what = f"{task.step.name} {shown(self._names.subject(task.subject))}"
        fps = f"{running.frames_per_s:,.0f} frames/s" if running.frames_per_s else ""
        if not running.n_done:
            far = "starting" if task.gpu else ""
        elif not task.n_frames:
            far = f"{running.n_done:,}"  # of a table whose length is not known
        elif width < _WIDE:
            far = f"{running.share:.0%}"
        else:
            n = round(_BAR * running.share)
            counts = f"{running.n_done:,} of {task.n_frames:,}"
            far = f"{'━' * n}{' ' * (_BAR - n)} {counts:>18}"
        end = f"  {far:>8}  {fps:>14}"
        room = max(8, width - cell_len(end))
        return Text(set_cell_size(_middle(what, room), room) + end)


_INDENT = 8  # of the numbers, below the bar


def _fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit into a line."""
    line = parts[0]
    for part in parts[1:]:
        if cell_len(line) + cell_len(part) + 2 <= width:
            line = f"{line}, {part}"
    return " " * _INDENT + line


def _middle(text: str, width: int) -> str:
    """A text that fits, without its middle if need be: names differ at their ends."""
    if cell_len(text) <= width:
        return text
    half = (width - 1) // 2
    tail = text[-half:]
    while cell_len(tail) > half:
        tail = tail[1:]
    return f"{set_cell_size(text, width - 1 - cell_len(tail))}…{tail}"
