"""A task as the scheduler sees it: what it waits for, who has it, how often it was lost."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from raypose.steps.base import Task


class Status(Enum):
    """How a task stands."""

    WAITING = auto()  # for inputs
    READY = auto()
    GIVEN = auto()  # to a worker
    ENDED = auto()


@dataclass(slots=True)
class Entry:
    """A task and how it stands.

    Attributes:
        order: place among all tasks.
        rank: 0 for what secures the work of GPUs, 1 for other tasks with inputs, 2 for those
            that bring new results into memory.
        missing: inputs that do not exist.
        attempt: number of the last submission.
        worker: who has it.
        losses: how often it was lost while it ran.
        unstarted: how often its worker was lost before it was heard to run.
        stalls: how often it stopped making progress.
        runs: whether it was heard to run, in this attempt.
        told_at: when it came to the front of its queue, or last made progress.
        cancelled: whether its worker was asked to give it back.
    """

    task: Task
    order: int
    rank: int
    missing: int = 0
    status: Status = Status.WAITING
    attempt: int = 0
    losses: int = 0
    unstarted: int = 0
    stalls: int = 0
    runs: bool = False
    worker: int = -1
    told_at: float = 0.0
    cancelled: bool = False
