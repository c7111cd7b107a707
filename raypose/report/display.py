"""What the displays of a run have in common: they count, and print failures and notes at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from raypose.execution.events import Replanned
from raypose.report.names import ShortNames, worker_labels
from raypose.report.tally import Tally
from raypose.report.terminal import print_problems, sentence, without_some
from raypose.specs import Progress
from raypose.steps import Summary, Task

if TYPE_CHECKING:
    from raypose.planning import Plan


class RunDisplay:
    """A `Display` (see `raypose.results`) that prints to a console.

    Args:
        console: where to.
        clock: seconds, from any beginning.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._names = ShortNames()
        self._tally = Tally(clock)
        self._told: set[str] = set()
        self.told_failures: set[tuple[str, str]] = set()
        """Path and message of the failures that it has printed."""

    def planning(self) -> None:
        """Nothing is said of what takes a moment."""

    def waiting(self, what: str) -> None:
        """Each display says it in its own way."""
        raise NotImplementedError

    def planned(self, plan: Plan) -> None:
        self._names = ShortNames.of(plan)
        print_problems(self._console, plan.problems, self._names)
        if not plan.done:
            n_pending, n_given = plan.n_pending_videos, plan.n_given
            self._console.print(f"{n_pending:,} of {n_given:,} videos to do{without_some(plan)}")
        self.told_failures |= {(p.subject, p.message) for p in plan.problems if p.fatal}

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        self._tally = Tally(self._clock)
        self._tally.start(tasks)

    def progress(self, task: Task, progress: Progress) -> None:
        self._tally.progress(task, progress)

    def finished(self, task: Task, summary: Summary) -> None:
        self._tally.finish(task, summary)
        subject = self._names.subject(task.subject)
        for failure in dict.fromkeys(summary.failures):
            if not failure.skipped:
                what = self._names.sentence(failure, task.step.name, task.subject)
                self._console.print(sentence("failed", "red", what))
                self.told_failures.add((failure.path, failure.message))
        for warning in summary.warnings:
            # The end table counts the others of the same words.
            if warning not in self._told:
                self._told.add(warning)
                self._console.print(sentence("note", "yellow", f"{subject}: {warning}"))

    def lost(self, worker: str, reason: str) -> None:
        label = worker_labels([*self._tally.workers, worker])[worker]
        self._tally.lose(worker)
        said = f"{label} was lost: {reason}. Its task is tried again."
        self._console.print(sentence("note", "yellow", said))

    def replanned(self, event: Replanned) -> None:
        self._tally.replan(event.dropped, event.added)

    def ended(self) -> None:
        """Nothing is held open."""
