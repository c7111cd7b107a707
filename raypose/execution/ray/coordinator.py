"""The actor through which driver and workers talk while tasks run.

It holds nothing that can't be said again: Ray starts it anew when it dies, and a run goes on.
"""

from __future__ import annotations

from collections import defaultdict

from raypose.specs import Progress


class Coordinator:
    """Progress on the way to the driver; what to do next on the way to the workers."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[Progress, int]] = {}
        self._begun: set[tuple[str, int]] = set()
        self._withdrawn: set[tuple[str, int]] = set()
        self._expected: dict[int, list[str]] = defaultdict(list)
        self._stop = False

    def begin(self, progress: Progress, attempt: int) -> bool:
        """A worker is about to start a task; False where it must not."""
        if self._stop or (progress.task, attempt) in self._withdrawn:
            return False
        self._begun.add((progress.task, attempt))
        self._progress[progress.task] = progress, attempt
        return True

    def withdraw(self, task: str, attempt: int) -> bool:
        """Take a queued task back from its worker; False where it has started."""
        if (task, attempt) in self._begun:
            return False
        self._withdrawn.add((task, attempt))
        return True

    def expect(self, worker: int, path: str) -> None:
        """A task that needs this video was given to a worker."""
        self._expected[worker].append(path)

    def report(self, progress: Progress, attempt: int, worker: int) -> tuple[bool, list[str]]:
        """A task has come a step further.

        Returns:
            Whether the run is to stop, and the videos that the worker will need next.
        """
        self._progress[progress.task] = progress, attempt
        return self._stop, self._expected.pop(worker, [])

    def drain(self) -> list[tuple[Progress, int]]:
        """The latest progress of each task since the last call, with its attempt."""
        news, self._progress = list(self._progress.values()), {}
        return news

    def stop(self) -> None:
        """No task starts any more, and those that run stop when they report next."""
        self._stop = True
