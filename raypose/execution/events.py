"""What an executor and the scheduler tell each other: events one way, actions the other.

All are small frozen values. A task is named by its id, a worker by a number that no other worker
of the run ever has, and a submission of a task by the number of the attempt: an answer to an
earlier attempt means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from raypose.steps.base import Task

# --- events: what happened -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TasksAdded:
    """These tasks are to be done; each stands after those whose results it takes."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker has started, and can reach what the run reads and writes."""

    worker: int


@dataclass(frozen=True, slots=True)
class WorkersLost:
    """Workers whose process died, or that can't be reached: all of a node that is gone."""

    workers: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class RoomForCpuWorkers:
    """The cluster has cores for this number of workers without a GPU."""

    count: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """A task has started to run, or has come a step further."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A task has ended by itself: its results, or failures in their place, exist."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A queued task was taken back from its worker before it started."""

    task: str
    attempt: int


@dataclass(frozen=True, slots=True)
class TaskLost:
    """A task ended in an error of the cluster, not of its own; its worker may still be there.

    Attributes:
        blameless: True where it never ran, because one of its inputs was lost.
    """

    task: str
    attempt: int
    reason: str
    blameless: bool = False


@dataclass(frozen=True, slots=True)
class ResultLost:
    """A result is gone from memory, with the node that held it."""

    output: str


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The clock shows this time, in seconds; it never goes back."""

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
    """End a worker at once; what it still does is of no use."""

    worker: int


@dataclass(frozen=True, slots=True)
class Submit:
    """Give a task to a worker."""

    task: Task
    worker: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take a queued task back; it may have started meanwhile, and then goes on."""

    task: Task
    worker: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """A result has no use any more."""

    output: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """A task was lost too often: put a failure in the place of each of its results."""

    task: Task
    reason: str
    losses: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run can't go on."""

    reason: str


Action = StartWorker | StopWorker | Submit | Cancel | Forget | Abandon | GiveUp
