"""What the driver knows of the cluster: workers, and the sessions in flight."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from raypose.errors import Failure
from raypose.tasks import Summary, Task


@dataclass
class Slot:
    """A worker as the driver sees it: the actor, and the frames it was given and has not done.

    Attributes:
        actor: the actor's handle.
        described: reference to what it says of itself; asked first, so that torch is imported
            before a task comes.
        load: frames of each task that it was given.
    """

    actor: Any
    described: Any = None
    load: dict[str, int] = field(default_factory=dict)

    @property
    def weight(self) -> int:
        return sum(self.load.values())


class Flight:
    """The sessions in flight: what was submitted and is not yet through."""

    def __init__(self, gpu_slots: Sequence[Slot], cpu_slots: Sequence[Slot]) -> None:
        self._gpu_slots = gpu_slots
        self._cpu_slots = cpu_slots
        self.references: dict[Any, Task] = {}
        self.tasks: dict[str, Slot] = {}
        # What a worker has queued beside the task it is at: enough to never wait for the driver.
        self._most_gpu_tasks = 3 * len(gpu_slots)
        self._most_tasks = self._most_gpu_tasks + 8 * len(cpu_slots) + 16

    def has_room(self) -> bool:
        n_gpu_tasks = sum(len(slot.load) for slot in self._gpu_slots)
        return n_gpu_tasks < self._most_gpu_tasks and len(self.tasks) < self._most_tasks

    def submit(self, tasks: Sequence[Task]) -> None:
        """Hand all tasks of a session to Ray; those that depend on others get their futures."""
        values: dict[str, Any] = {}
        for task in tasks:
            slot = min(self._gpu_slots if task.gpu else self._cpu_slots, key=_weight)
            inputs = [values[name] for name in task.inputs]
            summary, *results = slot.actor.do.options(
                num_returns=1 + len(task.outputs), name=task.id
            ).remote(task, *inputs)
            values.update(zip(task.outputs, results, strict=True))
            self.references[summary] = task
            self.tasks[task.id] = slot
            slot.load[task.id] = task.n_frames

    def wait(self, timeout_s: float) -> Iterator[Summary]:
        """Summaries of the tasks that have ended meanwhile."""
        references = list(self.references)
        ray.wait(references, num_returns=1, timeout=timeout_s)
        ready, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            task = self.references.pop(reference)
            slot = self.tasks.pop(task.id)
            del slot.load[task.id]
            try:
                yield ray.get(reference)
            except ray.exceptions.RayError as error:
                yield _lost(task, error)


def _weight(slot: Slot) -> tuple[int, int]:
    return len(slot.load), slot.weight


def _lost(task: Task, error: Exception) -> Summary:
    """The summary of a task that ended in an error of Ray's."""
    failure = Failure(
        task.kind,
        f"Ray could not finish it ({first_line(error)})",
        path=task.args.video.path,
        hint="Run the same command again: what is done is not done again.",
        error="WorkerLostError",
        details=str(error),
    )
    return Summary(task.id, task.kind, failures=(failure,))


def first_line(error: BaseException) -> str:
    """An error of Ray's without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
