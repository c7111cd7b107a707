"""Tasks that Ray has: hands them over with references to their inputs, and hears how they end."""

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
    """Everything that was handed to Ray and has not ended, and the results that are needed.

    Args:
        pool: the workers.
        coordinator: the run's coordinator.
        graphs: fingerprint of a model → reference to its graph.
        indexes: those of the videos.
    """

    def __init__(
        self,
        pool: WorkerPool,
        coordinator: Any,
        graphs: dict[str, Any],
        indexes: SharedIndexes,
    ) -> None:
        self._pool = pool
        self._coordinator = coordinator
        self._graphs = graphs
        self._indexes = indexes
        self._submissions: dict[Any, _Submission] = {}
        self._current: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        self._told: set[str] = set()

    @property
    def references(self) -> list[Any]:
        """One reference for each task that Ray has."""
        return list(self._submissions)

    def has(self, task: str, attempt: int) -> bool:
        """Whether this is the attempt at a task that counts."""
        return self._current.get(task) == attempt

    def submit(self, action: Submit) -> None:
        """Hand a task to a worker."""
        task = action.task
        inputs = [self._values[name] for name in task.inputs]
        prints = [model.fingerprint for model in task.step.models]
        graphs = {name: self._graphs[name] for name in prints if name in self._graphs}
        actor = self._pool[action.worker].actor
        summary, *results = actor.do.options(
            num_returns=1 + len(task.outputs), name=shown(task.id)
        ).remote(task, action.attempt, graphs | self._indexes.of(task), *inputs)
        self._current[task.id] = action.attempt
        self._submissions[summary] = _Submission(
            task, action.attempt, action.worker, tuple(results)
        )

    def withdraw(self, action: Cancel) -> list[Event]:
        """Take a task back from its worker's queue, unless it has started."""
        task, attempt = action.task.id, action.attempt
        if ray.get(self._coordinator.withdraw.remote(task, attempt)):
            return [Cancelled(task, attempt)]
        return []

    def forget(self, output: str) -> None:
        """Let go of a result."""
        self._values.pop(output, None)

    def abandon(self, action: Abandon) -> Summary | None:
        """Put a failure in the place of a task's results; returns what to tell of it."""
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
        return self._news(Summary(task.id, failures=(failure,)))

    def ended(self) -> Iterator[tuple[Event, Summary | None]]:
        """What has ended meanwhile: the events, and what to tell of tasks that ended well."""
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
            if summary is not None and self.has(submission.task.id, submission.attempt):
                del self._current[submission.task.id]
                self._indexes.ended(submission.task)
                outputs = submission.task.outputs
                self._values.update(zip(outputs, submission.results, strict=True))
                yield Finished(submission.task.id, submission.attempt), self._news(summary)

    def _is(self, name: str, error: Exception) -> bool:
        """Whether this is the result that Ray's error is about."""
        value = self._values.get(name)
        return isinstance(value, ray.ObjectRef) and value.hex() in str(error)

    def _news(self, summary: Summary) -> Summary | None:
        """The summary, unless the task has been told of: what it made was lost."""
        if summary.task in self._told:
            return None
        self._told.add(summary.task)
        return summary

    def _lost(self, submission: _Submission, error: Exception) -> list[Event]:
        """What an error of Ray's means."""
        task, attempt = submission.task, submission.attempt
        if isinstance(error, _INPUT_ERRORS):
            names = [name for name in task.inputs if self._is(name, error)]
            lost = [ResultLost(name) for name in names or task.inputs]
            return [*lost, TaskLost(task.id, attempt, first_line(error), blameless=True)]
        if isinstance(error, ray.exceptions.RayActorError):
            return [WorkersLost((submission.worker,), "its worker process died")]
        return [TaskLost(task.id, attempt, first_line(error))]
