"""What an executor and the scheduler tell each other: events one way, actions the other.

A task is named by its id, and a worker by a number that is never used twice in a run. Each
submission of a task has an attempt number; an answer to an earlier attempt is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from raypose.steps.base import Task

# --- events: what happened -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """New tasks, each listed after those whose results it takes."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker has started, and can reach what the run reads and writes."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkersLost:
    """Workers that died or can't be reached: all workers of a lost node at once."""

    workers: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RoomForCpuWorkers:
    """The cluster has cores for this many workers without a GPU."""

    count: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """A task has started, or has reported progress."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A task has ended by itself: its results, or failures in their place, exist."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A queued task was removed from its worker's queue before it started."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskLost:
    """A task ended with an error of the cluster, not its own; its worker may still exist.

    Attributes:
        blameless: True if it never ran because one of its inputs was lost.
    """

    task: str
    attempt: int
    reason: str
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class ResultLost:
    """A result was lost with the node that held it."""

    output: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The current time in seconds; it never goes back."""

    now_s: float


Event = (
    TasksAdded
    | WorkerUp
    | WorkersLost
    | RoomForCpuWorkers
    | Progressed
    | Finished
    | Cancelled
    | TaskLost
    | ResultLost
    | TimePassed
)

# --- actions: what to do -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker, as soon as there is room for it."""

    worker: int
    gpu: bool


@dataclass(frozen=True, slots=True)
class StopWorker:
    """Stop a worker at once, whatever it is doing."""

    worker: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Send a task to a worker."""

    task: Task
    worker: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Remove a task from a worker's queue, unless it has started meanwhile."""

    task: Task
    worker: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A result is no longer needed."""

    output: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """A task was lost too often: put a failure in the place of each of its results."""

    task: Task
    reason: str
    losses: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run can't continue."""

    reason: str


Action = StartWorker | StopWorker | Submit | Cancel | Forget | Abandon | GiveUp
