"""What an executor and the scheduler tell each other: events one way, actions the other.

A task is named by its id, and a worker by a number that is never used twice in a run. Each
submission of a task has an attempt number; an answer to an earlier attempt is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from raypose.steps.base import Task


class Event:
    """What happened."""


class Action:
    """What to do."""


@dataclass(frozen=True, slots=True)
class TasksAdded(Event):
    """New tasks, each listed after those whose results it takes.

    `to_claim`: whether a recording must be claimed for this run before its first task starts.
    """

    tasks: tuple[Task, ...]
    to_claim: bool = False


@dataclass(frozen=True, slots=True)
class OfRecording(Event):
    """An answer to `Claim`."""

    recording: str


class Claimed(OfRecording):
    """No other run works on the recording, and none will while this one does."""


class Postponed(OfRecording):
    """It is claimed only when a worker has nothing else to do."""


class Held(OfRecording):
    """Another run is working on it."""


@dataclass(frozen=True, slots=True)
class Replanned(OfRecording):
    """Another run has finished some or all of it: other tasks, claimed, replace the planned ones.

    `by` is that run, in words; empty where it is not known.
    """

    dropped: tuple[Task, ...]
    added: tuple[Task, ...]
    by: str = ""


@dataclass(frozen=True, slots=True)
class WorkerUp(Event):
    """A worker has started, and can reach what the run reads and writes."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkersLost(Event):
    """Workers that died or can't be reached: all workers of a lost node at once."""

    workers: tuple[int, ...]
    reason: str
    with_node: bool = False


@dataclass(frozen=True, slots=True)
class RoomForCpuWorkers(Event):
    """The cluster has cores for this many workers without a GPU."""

    count: int


@dataclass(frozen=True, slots=True)
class OfAttempt(Event):
    """Something happened to a submitted task."""

    task: str
    attempt: int


class Progressed(OfAttempt):
    """A task has started, or has reported progress."""


class Finished(OfAttempt):
    """A task has ended by itself: its results, or failures in their place, exist."""


class Cancelled(OfAttempt):
    """A queued task was removed from its worker's queue before it started."""


@dataclass(frozen=True, slots=True)
class TaskLost(OfAttempt):
    """A task ended with an error of the cluster, not its own; its worker may still exist."""

    reason: str
    blameless: bool = False  # it never ran, because one of its inputs was lost


@dataclass(frozen=True, slots=True)
class ResultLost(Event):
    """A result was lost with the node that held it."""

    output: str


@dataclass(frozen=True, slots=True)
class TimePassed(Event):
    """The current time in seconds; it never goes back."""

    now_s: float


@dataclass(frozen=True, slots=True)
class StartWorker(Action):
    """Start a worker, as soon as there is room for it."""

    worker: int
    gpu: bool


@dataclass(frozen=True, slots=True)
class StopWorker(Action):
    """Stop a worker at once, whatever it is doing."""

    worker: int


@dataclass(frozen=True, slots=True)
class _Assignment(Action):
    task: Task
    worker: int
    attempt: int


class Submit(_Assignment):
    """Send a task to a worker."""


class Cancel(_Assignment):
    """Remove a task from a worker's queue, unless it has started meanwhile."""


@dataclass(frozen=True, slots=True)
class Claim(Action):
    """Claim a recording for this run, and tell what came of it.

    `ahead`: whether its first task would wait in the queue of a busy worker.
    """

    recording: str
    ahead: bool


@dataclass(frozen=True, slots=True)
class Forget(Action):
    """A result is no longer needed."""

    output: str


@dataclass(frozen=True, slots=True)
class Abandon(Action):
    """A task was lost too often: put a failure in the place of each of its results."""

    task: Task
    reason: str
    losses: int


@dataclass(frozen=True, slots=True)
class GiveUp(Action):
    """The run can't continue for lack of workers: there is no room, or `starts_fail`."""

    reason: str
    starts_fail: bool = False
