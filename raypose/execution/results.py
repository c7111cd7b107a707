"""Which results of tasks exist, which are still needed, and how much memory they take.

Part of the scheduler: it knows names of results and numbers of rows, not where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from raypose.steps.base import Task


class Results:
    """The results of a run's tasks.

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
        """Register a task: what it will produce, and what it will use."""
        self._frames.update(dict.fromkeys(task.outputs, task.n_frames))
        self._uses.update(task.inputs)

    def use_again(self, task: Task) -> None:
        """A task that had ended needs its inputs again."""
        self._uses.update(task.inputs)

    def missing(self, task: Task) -> list[str]:
        """The inputs of a task that do not exist."""
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

    def produced(self, task: Task) -> tuple[list[str], list[str]]:
        """The task's results exist now.

        Returns:
            Those that are new, and those that nothing needs.
        """
        self.reserve(task)
        new = [name for name in task.outputs if name not in self._exist]
        self._exist.update(new)
        return new, self._unneeded(task.outputs)

    def consumed(self, task: Task) -> list[str]:
        """The task has ended and no longer needs its inputs; returns those that nothing needs."""
        for name in task.inputs:
            self._uses[name] -= 1
        return self._unneeded(task.inputs)

    def lost(self, name: str) -> None:
        """A result is gone."""
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
