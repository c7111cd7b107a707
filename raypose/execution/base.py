"""The contract of an executor: tasks in, events and results out.

```
start() → n_workers → run(recordings, observer) → close()
```

A recording is a tuple of tasks in order of dependency. An executor runs them with
`raypose.steps.execute`, passes results on to the tasks that need them, and informs the observer.
It decides where and when a task runs; the plan decides what there is to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Summary, Task


class Observer(Protocol):
    """Receives what happens, in the thread that called `run`."""

    def progress(self, progress: Progress) -> None:
        """How far a task is; the first report of a task says that it has started."""

    def finished(self, summary: Summary) -> None:
        """A task has ended, successfully or not; called once per task."""


class Executor(Protocol):
    """Runs the tasks of a plan."""

    def start(self, models: Sequence[ModelSpec]) -> int:
        """Prepare to run; returns the number of GPU workers.

        At least 1, or 0 where nothing is predicted and only CPUs are used.

        Raises:
            DeviceError: a GPU is present or requested, but can't be used.
            ClusterError: Ray can't be started or reached.
        """

    @property
    def description(self) -> str:
        """What it runs on, as one line for the user."""

    def run(self, recordings: Iterable[Sequence[Task]], observer: Observer) -> None:
        """Run all tasks. On `KeyboardInterrupt`, stop every task and raise it again."""

    def close(self) -> None:
        """Release everything; may be called at any time, and more than once."""
