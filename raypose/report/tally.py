"""How far a run is, by what its tasks report: the numbers that displays show."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from raypose.specs import Progress
from raypose.steps import Summary, Task

_UNKNOWN_FRAMES = 10_000  # of a task that does not know them yet (those of tables that are read)
_FIRST_ESTIMATE_S = 3.0  # before that, the time to go would be a guess


def work_of(task: Task) -> float:
    """What a task weighs in the whole run, in frames of prediction."""
    members = len(task.outputs) if task.gpu else 1
    return (task.n_frames or _UNKNOWN_FRAMES) * members * task.step.frame_cost


@dataclass
class Running:
    """A running task, and how far it was when it first and last reported frames."""

    task: Task
    worker: str
    n_done: int = 0
    at: float = 0.0
    n_first: int = 0
    first_at: float = 0.0

    def reported(self, n_done: int, at: float) -> None:
        """It has come so far."""
        if not self.n_first:
            self.n_first, self.first_at = n_done, at
        self.n_done, self.at = n_done, at

    @property
    def frames_per_s(self) -> float:
        """Without the time that the network takes to load; 0 where it is not known yet."""
        seconds = self.at - self.first_at
        return (self.n_done - self.n_first) / seconds if seconds > 0 else 0.0

    @property
    def share(self) -> float:
        """Of its frames; 0 where they are not known."""
        return min(1.0, self.n_done / self.task.n_frames) if self.task.n_frames else 0.0


class Tally:
    """Counts the tasks of a run, and estimates the time to go.

    Args:
        clock: seconds, from any beginning.

    Attributes:
        running: the running tasks by their ids.
        workers: every worker seen, in order, with the id of the task that it runs, if any.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.n_tasks = self.n_finished = self.n_failed = 0
        self.running: dict[str, Running] = {}
        self.workers: dict[str, str | None] = {}
        self._began = clock()
        self._total = self._done = 0.0
        self._n_predicted = 0
        # When work was first reported, and which share of all.
        self._first: tuple[float, float] | None = None

    def start(self, tasks: Sequence[Task]) -> None:
        """The workers are ready, and these are all tasks."""
        self._began = self.clock()
        self.n_tasks = len(tasks)
        self._total = sum(map(work_of, tasks))

    def replan(self, dropped: Sequence[Task], added: Sequence[Task]) -> None:
        """Other tasks take the place of some that have not started."""
        self.n_tasks += len(added) - len(dropped)
        self._total += sum(map(work_of, added)) - sum(map(work_of, dropped))

    def progress(self, task: Task, progress: Progress) -> None:
        """A task has started, or has come so far."""
        now = self.clock()
        running = self.running.get(task.id)
        if running is None or running.worker != progress.worker:
            running = self.running[task.id] = Running(task, progress.worker)
            self.workers[progress.worker] = task.id
        running.reported(progress.n_done, now)
        self._note_first()

    def lose(self, worker: str) -> None:
        """A worker is gone, and what it ran begins again elsewhere."""
        self.running.pop(self.workers.pop(worker, None) or "", None)

    def finish(self, task: Task, summary: Summary) -> None:
        """A task has ended, well or not."""
        running = self.running.pop(task.id, None)
        if running is not None and self.workers.get(running.worker) == task.id:
            self.workers[running.worker] = None
        self._done += work_of(task)
        self.n_finished += 1
        self.n_failed += any(not failure.skipped for failure in summary.failures)
        if task.gpu:
            n_members = max(0, len(task.outputs) - len(summary.failures))
            self._n_predicted += n_members * int(summary.stats.get("n_frames", 0))
        self._note_first()

    def _note_first(self) -> None:
        if self._first is None and (share := self.share):
            self._first = self.clock(), share

    @property
    def share(self) -> float:
        """Of all work, that of running tasks included."""
        reached = self._done + sum(work_of(r.task) * r.share for r in list(self.running.values()))
        return min(1.0, reached / self._total) if self._total else 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the workers were ready."""
        return self.clock() - self._began

    @property
    def left_s(self) -> float | None:
        """Seconds to go at the pace so far, without the time until the first frames; None where it
        is too early to say."""
        if self._first is None:
            return None
        since, before = self._first
        seconds, done = self.clock() - since, self.share - before
        if seconds < _FIRST_ESTIMATE_S or done <= 0:
            return None
        return seconds * (1 - self.share) / done

    @property
    def frames_per_s(self) -> float:
        """Frames predicted per second on all workers, counted once per model."""
        running = sum(
            r.n_done * len(r.task.outputs) for r in list(self.running.values()) if r.task.gpu
        )
        elapsed_s = self.elapsed_s
        return (self._n_predicted + running) / elapsed_s if elapsed_s > 0 else 0.0
