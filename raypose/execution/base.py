"""The contract of an executor: tasks in, events and results out.

```
start() → n_workers → run(sessions, observer) → close()
```

A session is a tuple of tasks, each after those it depends on. An executor does them by
`raypose.steps.execute`, hands results on to those who wait for them, and tells the observer
what happens. It decides where and when, never what: that is the plan's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Summary, Task


class Observer(Protocol):
    """Is told what happens, in the thread that called `run`."""

    def progress(self, progress: Progress) -> None:
        """A task has come so far; the first word of a task says that it runs."""

    def finished(self, summary: Summary) -> None:
        """A task has ended, well or badly; told once a task."""


class Executor(Protocol):
    """Does the tasks of a run."""

    def start(self, models: Sequence[ModelSpec]) -> int:
        """Get ready; returns how many GPU workers there will be.

        At least 1, or none where nothing is predicted: then only CPUs are used.

        Raises:
            DeviceError: a GPU is there, or asked for, and can't be used.
            ClusterError: Ray can't be started or reached.
        """

    @property
    def description(self) -> str:
        """What it runs on, in a line for people."""

    def run(self, sessions: Iterable[Sequence[Task]], observer: Observer) -> None:
        """Do all tasks. On `KeyboardInterrupt` no task goes on, and it is raised again."""

    def close(self) -> None:
        """Let go of everything; may be called at any time, and again."""
