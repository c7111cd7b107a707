"""What the scheduler knows of its tasks, of their results and of the workers.

It knows names of results and numbers of rows, not where they are. Workers are indexed by the
length of their queue, so that decisions stay fast with ten thousand.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from raypose.steps.base import Task

QUEUE_LENGTH = {True: 2, False: 1}
"""Tasks that a worker with a GPU, and one without, holds at a time; the first one runs."""

Priority = tuple[int, int, int, int]


class Status(Enum):
    WAITING = auto()  # for inputs
    READY = auto()
    ASSIGNED = auto()  # to a worker
    ENDED = auto()


@dataclass(slots=True)
class Entry:
    task: Task
    priority: Priority  # smaller goes first
    status: Status = Status.WAITING
    attempt: int = 0  # number of the latest submission
    losses: int = 0  # while it ran
    excused: int = 0  # losses of its whole node, or before the task reported anything
    stalls: int = 0
    started: bool = False  # whether it has reported anything in this attempt
    worker: int = -1
    active_at: float = 0.0  # when it came to the front of its queue, or last made progress
    cancelled: bool = False  # whether its worker was asked to return it


class Results:
    """Which results exist, which are still needed, and how much memory they take.

    Attributes:
        held_frames: rows of all results that are in memory, or soon will be.
    """

    def __init__(self) -> None:
        self.held_frames = 0
        self._frames: dict[str, int] = {}
        self._exist: set[str] = set()
        self._held: set[str] = set()
        self._uses = Counter[str]()

    def __contains__(self, name: str) -> bool:
        return name in self._exist

    def add(self, task: Task) -> None:
        """Register a task, or one that is redone: what it will produce, and what it will use."""
        self._frames.update(dict.fromkeys(task.outputs, task.n_frames))
        self._uses.update(task.inputs)

    def remove(self, task: Task) -> None:
        """Take back what `add` registered, of a task that has never run."""
        self._uses.subtract(task.inputs)

    def missing(self, task: Task) -> list[str]:
        return [name for name in task.inputs if name not in self._exist]

    def frames_of(self, task: Task) -> int:
        """Rows that a task will bring into memory."""
        return sum(self._frames[name] for name in task.outputs if self._uses[name])

    def reserve(self, task: Task) -> None:
        """Reserve memory for the results of a task that is about to run."""
        for name in task.outputs:
            if self._uses[name] and name not in self._held:
                self._held.add(name)
                self.held_frames += self._frames[name]

    def release(self, task: Task) -> None:
        """Release what was reserved for results that do not exist."""
        for name in task.outputs:
            if name not in self._exist:
                self._drop(name)

    def produced(self, task: Task) -> list[str]:
        """The task's results exist; returns those that nothing needs."""
        self.reserve(task)
        self._exist.update(task.outputs)
        return self._unneeded(task.outputs)

    def consumed(self, task: Task) -> list[str]:
        """The task no longer needs its inputs; returns those that nothing needs."""
        self._uses.subtract(task.inputs)
        return self._unneeded(task.inputs)

    def lost(self, name: str) -> None:
        self._exist.discard(name)
        self._drop(name)

    def _unneeded(self, names: Iterable[str]) -> list[str]:
        gone = [name for name in names if name in self._exist and not self._uses[name]]
        for name in gone:
            self.lost(name)
        return gone

    def _drop(self, name: str) -> None:
        if name in self._held:
            self._held.discard(name)
            self.held_frames -= self._frames[name]


@dataclass(slots=True)
class Worker:
    """A worker; it is up when it can take tasks, and runs the first one of its queue."""

    gpu: bool
    up: bool = False
    queue: deque[Entry] = field(default_factory=deque)


class Workers:
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
        worker = self._workers[number]
        if not worker.up:
            worker.up = True
            self._by_length[worker.gpu][0][number] = None

    def remove(self, number: int) -> Worker:
        worker = self._workers.pop(number)
        if worker.up:
            del self._by_length[worker.gpu][len(worker.queue)][number]
        return worker

    def n_up(self, gpu: bool) -> int:
        return sum(map(len, self._by_length[gpu]))

    def with_room(self, gpu: bool) -> int | None:
        """A worker with the shortest queue, if it can take another task."""
        return next((number for of in self._by_length[gpu][:-1] for number in of), None)

    def is_busy(self, number: int) -> bool:
        return bool(self._workers[number].queue)

    def to_relieve(self, gpu: bool) -> list[int]:
        """Workers whose queued task should move to an idle worker, one per idle worker."""
        idle, *_, full = self._by_length[gpu]
        if QUEUE_LENGTH[gpu] == 1:
            return []
        # Those that have started their task last have the most left of it.
        return [number for number, _ in zip(reversed(full), idle, strict=False)]

    def push(self, number: int, entry: Entry) -> None:
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
