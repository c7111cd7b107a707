"""The actor through which the driver and the workers communicate while tasks run.

It holds nothing that can't be said again: if it dies, Ray restarts it and the run goes on.
"""

from __future__ import annotations

from collections import defaultdict

from raypose.specs import Progress


class Coordinator:
    """Passes progress on to the driver, and what to do next to the workers."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[Progress, int]] = {}
        self._started: set[tuple[str, int]] = set()
        self._withdrawn: set[tuple[str, int]] = set()
        self._expected: dict[int, list[str]] = defaultdict(list)
        self._stop = False

    def begin(self, progress: Progress, attempt: int) -> bool:
        """A worker is about to start a task; False if it must not."""
        if self._stop or (progress.task, attempt) in self._withdrawn:
            return False
        self._started.add((progress.task, attempt))
        self._progress[progress.task] = progress, attempt
        return True

    def withdraw(self, task: str, attempt: int) -> bool:
        """Remove a task from its worker's queue; False if it has started."""
        if (task, attempt) in self._started:
            return False
        self._withdrawn.add((task, attempt))
        return True

    def expect(self, worker: int, path: str) -> None:
        """A task that needs this video was sent to a worker."""
        self._expected[worker].append(path)

    def report(self, progress: Progress, attempt: int, worker: int) -> tuple[bool, list[str]]:
        """A task has made progress.

        Returns:
            Whether the run is to stop, and the videos that the worker will need next.
        """
        self._progress[progress.task] = progress, attempt
        return self._stop, self._expected.pop(worker, [])

    def poll_progress(self) -> list[tuple[Progress, int]]:
        """The latest progress of each task since the last call, with its attempt."""
        latest, self._progress = list(self._progress.values()), {}
        return latest

    def stop(self) -> None:
        """Let no further task start; running tasks stop at their next report."""
        self._stop = True
