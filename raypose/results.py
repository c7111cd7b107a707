"""What came of a run, and who is told while it goes on.

The `Recorder` listens to an executor, and passes on what happens: into the `RunResult`, into the
log of the run, and to a `Display`, so that a notebook, a terminal and a log file see the same run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from raypose.errors import Failure
from raypose.execution.events import Replanned
from raypose.planning import Plan, Problem
from raypose.report import events
from raypose.specs import Progress
from raypose.steps import Summary, Task
from raypose.storage.run_log import RunLog


class Display(Protocol):
    """Shows a run while it goes on."""

    def planning(self) -> None:
        """Inputs and finished outputs are being compared."""

    def waiting(self, what: str) -> None:
        """What the run waits for, before its tasks or for one of them, until something else is
        said: `Starting Ray`."""

    def planned(self, plan: Plan) -> None:
        """The plan is made; nothing has started."""

    def started(self, description: str, tasks: Sequence[Task]) -> None:
        """The executor is ready and these tasks will be done."""

    def progress(self, task: Task, progress: Progress) -> None:
        """A task has come so far."""

    def finished(self, task: Task, summary: Summary) -> None:
        """A task has ended."""

    def lost(self, worker: str, reason: str) -> None:
        """A worker is gone; what it did is tried again."""

    def replanned(self, event: Replanned) -> None:
        """Another run has finished some or all of a recording."""

    def ended(self) -> None:
        """The run is over, whatever the reason."""


@dataclass(repr=False)
class RunResult:
    """What came of a run. At a prompt and in a notebook it shows itself as tables.

    Attributes:
        plan: what was to be done.
        run_dir: the run's directory.
        made: committed files by the name of the step that made them.
        failures: what failed, at the step where it failed; what only depended on it is counted.
        skipped: number of steps that were not tried because one before them had failed.
        warnings: `(subject, sentence)`, also on outputs that an earlier run has finished.
        damaged: videos with frames that are not ok, found now or by an earlier run: path → number
            of frames of each status (`ok`, `suspect`, `corrupt`, `missing`).
        elsewhere: recordings that other runs finished while this one ran → which run, in words.
        n_frames: frames predicted, counted once per model.
        precisions: in which networks computed, now or in an earlier run: `fp32`, `bf16`, `fp16`.
        gpu_s: seconds of prediction on GPUs, without loading models, summed over workers.
        gpu_waited_s: of those, seconds in which a network waited for frames.
        seconds: wall time, without that of the plan.
        report: the HTML file that shows which videos need a look; None where none was written.
    """

    plan: Plan
    run_dir: Path
    made: dict[str, list[str]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    skipped: int = 0
    warnings: list[tuple[str, str]] = field(default_factory=list)
    damaged: dict[str, Mapping[str, int]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    n_frames: int = 0
    precisions: set[str] = field(default_factory=set)
    gpu_s: float = 0.0
    gpu_waited_s: float = 0.0
    seconds: float = 0.0
    report: Path | None = None

    @classmethod
    def of(cls, plan: Plan) -> RunResult:
        """That of a run that has not begun: with its errors, and what earlier runs found."""
        return cls(
            plan,
            plan.run_dir,
            failures=[as_failure(problem) for problem in plan.problems if problem.fatal],
            warnings=plan.notes,
            damaged=dict(plan.damaged),
            precisions=plan.precisions,
        )

    @property
    def ok(self) -> bool:
        """True where everything that was asked for exists."""
        return not self.failures

    @property
    def n_videos_elsewhere(self) -> int:
        """Videos of the recordings that other runs finished."""
        return sum(len(r.videos) for r in self.plan.pending if r.key in self.elsewhere)

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1

    @property
    def nothing_to_do(self) -> bool:
        return self.plan.done

    def __str__(self) -> str:
        from raypose.report.tables import print_result
        from raypose.report.terminal import as_text

        return as_text(lambda console: print_result(console, self))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from raypose.report.tables import print_result
        from raypose.report.terminal import as_html

        return as_html(lambda console: print_result(console, self))


def as_failure(problem: Problem) -> Failure:
    subject = Path(problem.subject).name
    return Failure("plan", problem.message, problem.subject, problem.hint, subject=subject)


class Recorder:
    """Listens to an executor."""

    def __init__(
        self, tasks: Mapping[str, Task], result: RunResult, log: RunLog, display: Display | None
    ) -> None:
        self._tasks = dict(tasks)
        self._result = result
        self._log = log
        self._display = display
        self._running: dict[str, tuple[Progress, float]] = {}  # with when it was reported

    def running(self) -> dict[str, Any]:
        """What runs at the moment, and for how many seconds each task has been silent."""
        now = time.monotonic()
        return {
            name: {
                **events.progressed(self._tasks[name], progress),
                "silent_s": round(now - reported, 1),
            }
            for name, (progress, reported) in dict(self._running).items()
        }

    def progress(self, progress: Progress) -> None:
        task = self._tasks[progress.task]
        before = self._running.get(task.id)
        if before is None or before[0].worker != progress.worker:
            self._log.event("task started", **events.task_started(task, progress))
        self._running[task.id] = progress, time.monotonic()
        if self._display is not None:
            self._display.progress(task, progress)

    def lost(self, worker: str, reason: str) -> None:
        self._running = {n: at for n, at in self._running.items() if at[0].worker != worker}
        self._log.event("worker lost", **events.worker_lost(worker, reason))
        if self._display is not None:
            self._display.lost(worker, reason)

    def waiting(self, what: str) -> None:
        """The run waits for others, and does nothing else."""
        self._log.event("waiting", what=what)
        if self._display is not None:
            self._display.waiting(what)

    def replanned(self, event: Replanned) -> None:
        for task in event.dropped:
            del self._tasks[task.id]
        self._tasks.update((task.id, task) for task in event.added)
        self._log.event("replanned", **events.replanned(event))
        if self._display is not None:
            self._display.replanned(event)

    def finished(self, summary: Summary) -> None:
        task, result = self._tasks[summary.task], self._result
        self._running.pop(task.id, None)
        result.made.setdefault(task.step.name, []).extend(summary.made)
        result.warnings += [(task.subject, warning) for warning in summary.warnings]
        result.precisions.update(summary.stats.get("precisions", ()))
        if task.gpu:
            n_frames = int(summary.stats.get("n_frames", 0))
            result.n_frames += summary.n_made(task) * n_frames
            if str(summary.stats.get("device", "")).startswith("cuda"):
                result.gpu_s += summary.stats["predict_s"]
                result.gpu_waited_s += summary.stats["decode_s"]
        for path, counts in summary.stats.get("damaged", {}).items():
            known = result.damaged.get(path, counts)
            result.damaged[path] = min(known, counts, key=lambda n: n.get("ok", 0))
        failures = [replace(f, subject=task.subject) for f in dict.fromkeys(summary.failures)]
        result.failures += [failure for failure in failures if not failure.skipped]
        result.skipped += sum(failure.skipped for failure in failures)
        self._log.event("task finished", **events.task_finished(task, summary, failures))
        if self._display is not None:
            self._display.finished(task, summary)
