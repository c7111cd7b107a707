"""Submits tasks to Ray with references to their inputs, and finds out how they end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import ray

from raypose.errors import Failure
from raypose.execution import events
from raypose.execution.ray.connection import first_line
from raypose.execution.ray.pool import WorkerPool
from raypose.inputs.probe import known_index
from raypose.specs import VideoSpec
from raypose.steps.base import Summary, Task
from raypose.text import shown

CLUSTER_S = 30.0
"""Seconds within which the coordinator answers. Where its node is lost, Ray waits for ever."""

_INPUT_ERRORS = (
    ray.exceptions.ObjectLostError,
    ray.exceptions.OwnerDiedError,
    ray.exceptions.ObjectFetchTimedOutError,
)


class Submissions:
    """All tasks that Ray has not finished, and the results that are still needed.

    `artifacts`: fingerprint of a model → reference to its network artifact.
    """

    def __init__(
        self, pool: WorkerPool, coordinator: Any, artifacts: dict[str, Any], tasks: Iterable[Task]
    ) -> None:
        self._pool = pool
        self._coordinator = coordinator
        self._artifacts = artifacts
        self._indexes = _SharedIndexes(tasks)
        self._submissions: dict[Any, tuple[events.Submit, list[Any]]] = {}
        self._current: dict[str, int] = {}
        self._values: dict[str, Any] = {}
        self._reported: set[str] = set()

    @property
    def references(self) -> list[Any]:
        return list(self._submissions)

    def is_current(self, task: str, attempt: int) -> bool:
        """Whether this is the latest attempt at a task, and has not ended."""
        return self._current.get(task) == attempt

    def submit(self, action: events.Submit) -> None:
        task = action.task
        inputs = [self._values[name] for name in task.inputs]
        shared = self._indexes.of(task)
        for model in task.step.models:
            if model.fingerprint in self._artifacts:
                shared[model.fingerprint] = self._artifacts[model.fingerprint]
        method = self._pool[action.worker].actor.run_task
        method = method.options(num_returns=1 + len(task.outputs), name=shown(task.id))
        summary, *results = method.remote(task, action.attempt, shared, *inputs)
        self._current[task.id] = action.attempt
        self._submissions[summary] = action, results

    def replan(self, event: events.Replanned) -> None:
        """Other tasks take the place of some that were never submitted."""
        for task in event.dropped:
            self._indexes.ended(task)
        self._indexes.expect(event.added)

    def withdraw(self, action: events.Cancel) -> list[events.Event]:
        """Remove a task from its worker's queue, unless it has started."""
        task, attempt = action.task.id, action.attempt
        answer = self._coordinator.withdraw.remote(task, attempt)
        withdrawn = ray.get(answer, timeout=CLUSTER_S)
        return [events.Cancelled(task, attempt)] if withdrawn else []

    def forget(self, output: str) -> None:
        self._values.pop(output, None)

    def abandon(self, action: events.Abandon) -> Summary | None:
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

    def ended(self) -> Iterator[tuple[events.Event, Summary | None]]:
        """The tasks that have ended since the last call: events, and summaries to report."""
        if not self._submissions:
            return
        ready, _ = ray.wait(self.references, num_returns=len(self._submissions), timeout=0)
        for reference in ready:
            submitted, results = self._submissions.pop(reference)
            task, attempt = submitted.task, submitted.attempt
            try:
                summary = ray.get(reference)
            except ray.exceptions.RayError as error:
                yield from ((event, None) for event in self._lost(submitted, error))
                continue
            if summary is not None and self.is_current(task.id, attempt):
                del self._current[task.id]
                self._indexes.ended(task)
                self._values.update(zip(task.outputs, results, strict=True))
                yield events.Finished(task.id, attempt), self._once(summary)

    def was_reported(self, task: str) -> bool:
        """Whether a task ended once, and is redone because its results were lost."""
        return task in self._reported

    def _once(self, summary: Summary) -> Summary | None:
        """The summary, unless the task was reported before its results were lost."""
        if summary.task in self._reported:
            return None
        self._reported.add(summary.task)
        return summary

    def _lost(self, submitted: events.Submit, error: Exception) -> list[events.Event]:
        """What an error from Ray means."""
        task, attempt = submitted.task, submitted.attempt
        if isinstance(error, _INPUT_ERRORS):
            names = [name for name in task.inputs if self._is_about(error, name)]
            lost = [events.ResultLost(name) for name in names or task.inputs]
            return [*lost, events.TaskLost(task.id, attempt, first_line(error), blameless=True)]
        if isinstance(error, ray.exceptions.RayActorError):
            return [events.WorkersLost((submitted.worker,), "its worker process died")]
        return [events.TaskLost(task.id, attempt, first_line(error))]

    def _is_about(self, error: Exception, name: str) -> bool:
        value = self._values.get(name)
        return isinstance(value, ray.ObjectRef) and value.hex() in str(error)


class _SharedIndexes:
    """The index of each video that tasks are reading now, put into the object store once.

    A worker makes an index itself, and keeps it, where the cache no longer holds it.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._references: dict[str, Any] = {}
        self._unfinished = defaultdict[str, set[str]](set)
        self.expect(tasks)

    def expect(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            for video in _videos_read(task):
                self._unfinished[video.path].add(task.id)

    def of(self, task: Task) -> dict[str, Any]:
        """References to the indexes that a task needs, by the paths of its videos."""
        given = {}
        for video in _videos_read(task):
            index = None if video.path in self._references else known_index(video)
            if index is not None:
                self._references[video.path] = ray.put(index)
            if video.path in self._references:
                given[video.path] = self._references[video.path]
        return given

    def ended(self, task: Task) -> None:
        """Drop the indexes that no other task needs; a task that is redone gets them again."""
        for video in _videos_read(task):
            self._unfinished[video.path].discard(task.id)
            if not self._unfinished[video.path]:
                self._references.pop(video.path, None)


def _videos_read(task: Task) -> tuple[VideoSpec, ...]:
    return task.step.videos if task.step.reads_frames else ()
