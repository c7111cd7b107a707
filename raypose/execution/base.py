"""The contract of an executor: `start()` → `run(tasks, observer)` → `close()`.

An executor decides where and when each task runs, by `raypose.steps.execute`, passes results on,
and informs the observer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from raypose.execution.events import OfRecording, Replanned
from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Summary, Task


class Observer(Protocol):
    """Receives what happens, in the thread that called `run`."""

    def progress(self, progress: Progress) -> None:
        """How far a task is; the first report of a task says that it has started."""

    def finished(self, summary: Summary) -> None:
        """A task has ended, successfully or not; called once per task."""

    def lost(self, worker: str, reason: str) -> None:
        """A worker is gone; what it did is tried again elsewhere, or fails in the end."""

    def replanned(self, event: Replanned) -> None:
        """Another run has finished some or all of a recording."""


Claim = Callable[[str, bool], OfRecording]
"""Claims a recording, by its name, for this run, and returns what came of it; the second argument
is the action's `ahead`."""

Wait = Callable[[str], None]
"""Is told what the run waits for, in words: `Starting Ray`."""


class Executor(Protocol):
    """Runs the tasks of a plan.

    Attributes:
        description: what it runs on, as one line for the user; known once it has started.
    """

    description: str

    def start(self, models: Sequence[ModelSpec], task_bytes: int, on_wait: Wait) -> int:
        """Prepare to run; returns the number of GPU workers, 0 where nothing is predicted.

        `task_bytes` is the memory that the largest task without a GPU needs; `on_wait` is called
        with what the start waits for.

        Raises:
            DeviceError: a GPU is present or requested, but can't be used.
            ClusterError: Ray can't be started or reached.
        """

    def run(self, tasks: Sequence[Task], observer: Observer, claim: Claim | None = None) -> None:
        """Run all tasks, which are in order of dependency.

        Each recording is claimed before its first task starts; None claims nothing.

        On `KeyboardInterrupt`, stop every task and raise it again.
        """

    def close(self) -> None:
        """Release everything; may be called at any time, and more than once."""
