"""Submits tasks to Ray with references to their inputs, and finds out how they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from raypose.errors import Failure
from raypose.execution.events import (
    Abandon,
    Cancel,
    Cancelled,
    Event,
    Finished,
    ResultLost,
    Submit,
    TaskLost,
    WorkersLost,
)
from raypose.execution.ray.errors import first_line
from raypose.execution.ray.indexes import SharedIndexes
from raypose.execution.ray.pool import WorkerPool
from raypose.steps.base import Summary, Task
from raypose.text import shown

_INPUT_ERRORS = (
    ray.exceptions.ObjectLostError,
    ray.exceptions.OwnerDiedError,
    ray.exceptions.ObjectFetchTimedOutError,
)


@dataclass(frozen=True, slots=True)
class _Submission:
    task: Task
    attempt: int
    worker: int
    results: tuple[Any, ...]


class Submissions:
    """All tasks that Ray has not finished, and the results that are still needed.

    Args:
        pool: the workers.
        coordinator: the run's coordinator.
        artifacts: fingerprint of a model → reference to its network artifact.
        indexes: those of the videos.
    """

    def __init__(
        self,
        pool: WorkerPool,
        coordinator: Any,
        artifacts: dict[str, Any],
        indexes: SharedIndexes,
    ) -> None:
        self._pool = pool
        self._coordinator = coordinator
        self._artifacts = artifacts
        self._indexes = indexes
        self._submissions: dict[Any, _Submission] = {}
        self._current: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        self._reported: set[str] = set()

    @property
    def references(self) -> list[Any]:
        """One reference for each task that Ray has."""
        return list(self._submissions)

    def is_current(self, task: str, attempt: int) -> bool:
        """Whether this is the latest attempt at a task, and has not ended."""
        return self._current.get(task) == attempt

    def submit(self, action: Submit) -> None:
        """Send a task to a worker."""
        task = action.task
        inputs = [self._values[name] for name in task.inputs]
        prints = [model.fingerprint for model in task.step.models]
        artifacts = {name: self._artifacts[name] for name in prints if name in self._artifacts}
        actor = self._pool[action.worker].actor
        summary, *results = actor.run_task.options(
            num_returns=1 + len(task.outputs), name=shown(task.id)
        ).remote(task, action.attempt, artifacts | self._indexes.of(task), *inputs)
        self._current[task.id] = action.attempt
        self._submissions[summary] = _Submission(
            task, action.attempt, action.worker, tuple(results)
        )

    def withdraw(self, action: Cancel) -> list[Event]:
        """Remove a task from its worker's queue, unless it has started."""
        task, attempt = action.task.id, action.attempt
        if ray.get(self._coordinator.withdraw.remote(task, attempt)):
            return [Cancelled(task, attempt)]
        return []

    def forget(self, output: str) -> None:
        """Release a result."""
        self._values.pop(output, None)

    def abandon(self, action: Abandon) -> Summary | None:
        """Put a failure in the place of a task's results; returns what to report."""
        task = action.task
        failure = Failure(
            task.step.name,
            f"it was tried {action.losses} times and lost each time ({action.reason})",
            path=task.step.video.path,
            hint="A damaged file or too little memory can be the cause; see the log of the "
            "run, and try it alone with --inline.",
            error="WorkerLostError",
        )
        self._values.update(dict.fromkeys(task.outputs, failure))
        self._indexes.ended(task)
        return self._once(Summary(task.id, failures=(failure,)))

    def ended(self) -> Iterator[tuple[Event, Summary | None]]:
        """The tasks that have ended since the last call: events, and summaries to report."""
        if not self._submissions:
            return
        ready, _ = ray.wait(self.references, num_returns=len(self._submissions), timeout=0)
        for reference in ready:
            submission = self._submissions.pop(reference)
            try:
                summary = ray.get(reference)
            except ray.exceptions.RayError as error:
                for event in self._lost(submission, error):
                    yield event, None
                continue
            if summary is not None and self.is_current(submission.task.id, submission.attempt):
                del self._current[submission.task.id]
                self._indexes.ended(submission.task)
                outputs = submission.task.outputs
                self._values.update(zip(outputs, submission.results, strict=True))
                yield Finished(submission.task.id, submission.attempt), self._once(summary)

    def _is_about(self, error: Exception, name: str) -> bool:
        """Whether Ray's error is about this result."""
        value = self._values.get(name)
        return isinstance(value, ray.ObjectRef) and value.hex() in str(error)

    def _once(self, summary: Summary) -> Summary | None:
        """The summary, unless the task was reported before its results were lost."""
        if summary.task in self._reported:
            return None
        self._reported.add(summary.task)
        return summary

    def _lost(self, submission: _Submission, error: Exception) -> list[Event]:
        """What an error from Ray means."""
        task, attempt = submission.task, submission.attempt
        if isinstance(error, _INPUT_ERRORS):
            names = [name for name in task.inputs if self._is_about(error, name)]
            lost = [ResultLost(name) for name in names or task.inputs]
            return [*lost, TaskLost(task.id, attempt, first_line(error), blameless=True)]
        if isinstance(error, ray.exceptions.RayActorError):
            return [WorkersLost((submission.worker,), "its worker process died")]
        return [TaskLost(task.id, attempt, first_line(error))]
