"""The workers of a run as the scheduler sees them, each with its queue of tasks.

Workers are indexed by the length of their queue, so that decisions stay fast with ten thousand.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from raypose.execution.entries import Entry

QUEUE_LENGTH = {True: 2, False: 1}
"""Tasks that a worker with a GPU, and one without, holds at a time; the first one runs."""


@dataclass(slots=True)
class Worker:
    """A worker.

    Attributes:
        gpu: whether it has one.
        up: whether it can take tasks; else it is still starting.
        queue: its tasks; the first one runs.
    """

    gpu: bool
    up: bool = False
    queue: deque[Entry] = field(default_factory=deque)


class Workers:
    """All workers of a run, by number."""

    def __init__(self) -> None:
        self._n_added = 0
        self._workers: dict[int, Worker] = {}
        # Workers that are up, by kind and queue length; dicts, because they keep the order.
        self._by_length: dict[bool, list[dict[int, None]]] = {
            gpu: [{} for _ in range(length + 1)] for gpu, length in QUEUE_LENGTH.items()
        }

    def __contains__(self, number: int) -> bool:
        return number in self._workers

    def __getitem__(self, number: int) -> Worker:
        return self._workers[number]

    def add(self, gpu: bool) -> int:
        """Add a worker that is starting; returns its number."""
        number = self._n_added
        self._n_added += 1
        self._workers[number] = Worker(gpu)
        return number

    def set_up(self, number: int) -> None:
        """The worker can take tasks from now on."""
        worker = self._workers[number]
        if not worker.up:
            worker.up = True
            self._by_length[worker.gpu][0][number] = None

    def remove(self, number: int) -> Worker:
        """Remove a worker; returns its last state."""
        worker = self._workers.pop(number)
        if worker.up:
            del self._by_length[worker.gpu][len(worker.queue)][number]
        return worker

    def n_up(self, gpu: bool) -> int:
        return sum(map(len, self._by_length[gpu]))

    def with_room(self, gpu: bool) -> int | None:
        """A worker with the shortest queue, if it can take another task."""
        for workers in self._by_length[gpu][:-1]:
            if workers:
                return next(iter(workers))
        return None

    def to_relieve(self, gpu: bool) -> list[int]:
        """Workers whose queued task should move to an idle worker, one per idle worker."""
        idle, *_, full = self._by_length[gpu]
        if not idle or QUEUE_LENGTH[gpu] == 1:
            return []
        # Those that have started their task last have the most left of it.
        return [number for number, _ in zip(reversed(full), idle, strict=False)]

    def push(self, number: int, entry: Entry) -> None:
        """Add a task to the end of a worker's queue."""
        worker = self._workers[number]
        worker.queue.append(entry)
        self._reindex(number, worker, len(worker.queue) - 1)

    def pull(self, number: int, entry: Entry) -> Entry | None:
        """Remove a task from a worker's queue; returns the task that now moves to the front."""
        worker = self._workers[number]
        was_first = worker.queue[0] is entry
        worker.queue.remove(entry)
        self._reindex(number, worker, len(worker.queue) + 1)
        return worker.queue[0] if was_first and worker.queue else None

    def _reindex(self, number: int, worker: Worker, old_length: int) -> None:
        by_length = self._by_length[worker.gpu]
        del by_length[old_length][number]
        by_length[len(worker.queue)][number] = None

    def running(self) -> list[tuple[int, Entry]]:
        """Each busy worker with the task that it runs."""
        return [(number, w.queue[0]) for number, w in self._workers.items() if w.queue]
