"""The workers of a run as the scheduler sees them: which there are, and what each has to do.

Part of the scheduler: it knows numbers and queues, and keeps the workers sorted by the length of
their queue, so that a run with ten thousand of them decides as quickly as one with two.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

QUEUE_LENGTH = {True: 2, False: 1}
"""Tasks that a worker with a GPU, and one without, has at a time; the first of them runs."""


@dataclass(slots=True)
class Worker(Generic[T]):
    """A worker.

    Attributes:
        gpu: whether it has one.
        up: whether it can be given tasks; else it is still starting.
        queue: its tasks; the first one runs.
    """

    gpu: bool
    up: bool = False
    queue: deque[T] = field(default_factory=deque)


class Workers(Generic[T]):
    """All workers of a run, by their numbers."""

    def __init__(self) -> None:
        self._n_added = 0
        self._workers: dict[int, Worker[T]] = {}
        # By kind and length of the queue, those that are up; dicts, since they keep the order.
        self._by_length: dict[bool, list[dict[int, None]]] = {
            gpu: [{} for _ in range(length + 1)] for gpu, length in QUEUE_LENGTH.items()
        }

    def __contains__(self, number: int) -> bool:
        return number in self._workers

    def __getitem__(self, number: int) -> Worker[T]:
        return self._workers[number]

    def get(self, number: int) -> Worker[T] | None:
        return self._workers.get(number)

    def add(self, gpu: bool) -> int:
        """A worker that is starting; returns its number."""
        number = self._n_added
        self._n_added += 1
        self._workers[number] = Worker(gpu)
        return number

    def up(self, number: int) -> None:
        """It can be given tasks from now on."""
        worker = self._workers[number]
        if not worker.up:
            worker.up = True
            self._by_length[worker.gpu][0][number] = None

    def remove(self, number: int) -> Worker[T]:
        """It is gone; returns what it was."""
        worker = self._workers.pop(number)
        if worker.up:
            del self._by_length[worker.gpu][len(worker.queue)][number]
        return worker

    def n_up(self, gpu: bool) -> int:
        return sum(map(len, self._by_length[gpu]))

    def with_room(self, gpu: bool) -> int | None:
        """One of those with the fewest tasks, if it can take one more."""
        for workers in self._by_length[gpu][:-1]:
            if workers:
                return next(iter(workers))
        return None

    def to_relieve(self, gpu: bool) -> list[int]:
        """Workers with a queued task, as many as others have nothing to do."""
        idle, *_, full = self._by_length[gpu]
        if not idle or QUEUE_LENGTH[gpu] == 1:
            return []
        # Those that have started their task last have the most left of it.
        return [number for number, _ in zip(reversed(full), idle, strict=False)]

    def push(self, number: int, task: T) -> None:
        """Put a task at the end of its queue."""
        worker = self._workers[number]
        worker.queue.append(task)
        self._moved(number, worker, len(worker.queue) - 1)

    def pull(self, number: int, task: T) -> T | None:
        """Take a task out of its queue; returns the one that comes to the front by that."""
        worker = self._workers[number]
        was_first = worker.queue[0] is task
        worker.queue.remove(task)
        self._moved(number, worker, len(worker.queue) + 1)
        return worker.queue[0] if was_first and worker.queue else None

    def _moved(self, number: int, worker: Worker[T], before: int) -> None:
        by_length = self._by_length[worker.gpu]
        del by_length[before][number]
        by_length[len(worker.queue)][number] = None

    def running(self) -> list[tuple[int, T]]:
        """Each worker that has something to do, and the task that it is at."""
        return [(number, w.queue[0]) for number, w in self._workers.items() if w.queue]
