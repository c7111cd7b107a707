"""A task as the scheduler sees it: what it waits for, which worker has it, and its losses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from raypose.steps.base import Task

Priority = tuple[int, int, int, int]


class Status(Enum):
    """The state of a task."""

    WAITING = auto()  # for inputs
    READY = auto()
    ASSIGNED = auto()  # to a worker
    ENDED = auto()


@dataclass(slots=True)
class Entry:
    """A task and its state.

    Attributes:
        priority: its place among the tasks that are ready; smaller goes first.
        adds_results: whether it brings new results into memory without freeing others.
        missing: number of inputs that do not exist yet.
        attempt: number of the latest submission.
        worker: the worker that has it.
        losses: how often it was lost while it ran.
        unstarted: how often its worker was lost before the task reported anything.
        stalls: how often it stopped making progress.
        started: whether it has reported anything in this attempt.
        active_at: when it came to the front of its queue, or last made progress.
        cancelled: whether its worker was asked to return it.
    """

    task: Task
    priority: Priority
    adds_results: bool
    missing: int = 0
    status: Status = Status.WAITING
    attempt: int = 0
    losses: int = 0
    unstarted: int = 0
    stalls: int = 0
    started: bool = False
    worker: int = -1
    active_at: float = 0.0
    cancelled: bool = False
