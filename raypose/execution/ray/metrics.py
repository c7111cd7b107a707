"""Numbers of a run for Prometheus, which Ray exports from the driver's node.

Ray puts `ray_` before the names. docs/monitoring.md lists them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from ray.util import metrics

from raypose.execution.base import Observer
from raypose.execution.events import Replanned
from raypose.specs import Progress
from raypose.steps.base import Summary, Task

STATES = ("waiting", "running", "done", "failed", "skipped")


class MeteredObserver:
    """Keeps the numbers, and passes everything on to an observer.

    Args:
        observer: is told first.
        tasks: all tasks of the run.
        run: tells the run from others.
    """

    def __init__(self, observer: Observer, tasks: Sequence[Task], run: str) -> None:
        self._observer = observer
        self._tasks = {task.id: task for task in tasks}
        self._states = {task.id: "waiting" for task in tasks}
        self._counts = Counter((task.step.name, "waiting") for task in tasks)
        self._running: dict[str, tuple[Progress, float]] = {}  # the latest, and when it came
        # Ray takes nothing but ASCII.
        self._run = {"run": run.encode("ascii", "backslashreplace").decode()}
        self._n_tasks = metrics.Gauge(
            "raypose_tasks", "Tasks of the run, by step and state.", ("run", "step", "state")
        )
        self._n_frames = metrics.Counter(
            "raypose_frames", "Frames predicted, counted once per model.", ("run", "worker")
        )
        self._pace = metrics.Gauge(
            "raypose_frames_per_second",
            "Frames that a worker processes per second, counted once.",
            ("run", "worker", "step"),
        )
        self._n_failures = metrics.Counter(
            "raypose_failures", "Failures, by step.", ("run", "step")
        )
        self.refresh()

    def refresh(self) -> None:
        """Say again how many tasks there are: Ray forgets a gauge that is not set for a while."""
        for step in dict.fromkeys(step for step, _ in self._counts):
            for state in STATES:
                tags = {**self._run, "step": step, "state": state}
                self._n_tasks.set(self._counts[step, state], tags)

    def progress(self, progress: Progress) -> None:
        self._observer.progress(progress)
        task, now = self._tasks[progress.task], time.monotonic()
        before, since = self._running.get(task.id, (progress, now))
        self._running[task.id] = progress, now
        self._move(task, "running")
        n_new = progress.n_done - before.n_done
        if before.worker != progress.worker or n_new <= 0:
            return
        tags = {**self._run, "worker": progress.worker}
        if task.gpu:
            self._n_frames.inc(n_new * len(task.outputs), tags)
        if now > since:
            self._pace.set(n_new / (now - since), {**tags, "step": task.step.name})

    def finished(self, summary: Summary) -> None:
        self._observer.finished(summary)
        task = self._tasks[summary.task]
        unseen = Progress(task.id, 0, task.n_frames, summary.worker)  # it ended at once
        last, _ = self._running.pop(task.id, (unseen, 0.0))
        tags = {**self._run, "worker": last.worker}
        n_predicted = int(summary.stats.get("n_frames", 0)) * summary.n_made(task)
        n_rest = n_predicted - last.n_done * len(task.outputs)
        if task.gpu and n_rest > 0:
            self._n_frames.inc(n_rest, tags)
        if last is not unseen:
            self._pace.set(0.0, {**tags, "step": task.step.name})
        failed = [failure for failure in summary.failures if not failure.skipped]
        if failed:
            self._n_failures.inc(len(failed), {**self._run, "step": task.step.name})
        state = "failed" if failed else "skipped" if summary.failures else "done"
        self._move(task, state)

    def lost(self, worker: str, reason: str) -> None:
        self._observer.lost(worker, reason)
        for name, (last, _) in list(self._running.items()):
            if last.worker == worker:
                del self._running[name]
                task = self._tasks[name]
                self._pace.set(0.0, {**self._run, "worker": worker, "step": task.step.name})
                self._move(task, "waiting")

    def replanned(self, event: Replanned) -> None:
        self._observer.replanned(event)
        for task in event.dropped:
            self._counts[task.step.name, self._states.pop(task.id)] -= 1
            del self._tasks[task.id]
        for task in event.added:
            self._counts[task.step.name, "waiting"] += 1
            self._states[task.id] = "waiting"
            self._tasks[task.id] = task

    def _move(self, task: Task, state: str) -> None:
        step = task.step.name
        self._counts[step, self._states[task.id]] -= 1
        self._counts[step, state] += 1
        self._states[task.id] = state
