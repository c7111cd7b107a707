"""The whole plan in one process, without Ray: for machines without it, and for debugging."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from raypose.config import Settings
from raypose.executors.base import Observer
from raypose.stages.context import Context
from raypose.stages.work import execute
from raypose.tasks import ModelSpec, Progress, Task


class InlineExecutor:
    """Does one task after the other, on one device."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._observer: Observer | None = None
        self._device = ""

    def start(self, models: Sequence[ModelSpec]) -> int:
        if not self._config.predicts:
            return 0
        from raypose.stages.infer.device import resolve_device

        self._device = f", on {resolve_device(self._config.device)}"
        return 1

    @property
    def description(self) -> str:
        return f"this process{self._device}"

    def run(self, sessions: Iterable[Sequence[Task]], observer: Observer) -> None:
        from raypose.stages.infer.graph import cached_graph

        allow_unsafe = self._config.allow_unsafe_checkpoint
        context = Context(
            device=self._config.device,
            graph=lambda model: cached_graph(model, allow_unsafe=allow_unsafe),
            report=observer.progress,
            should_stop=lambda: False,  # Ctrl-C interrupts the process itself
            worker=f"{socket.gethostname()}:{os.getpid()}",
            allow_unsafe=allow_unsafe,
        )
        with closing(context.staging):
            for tasks, following in _with_following(sessions):
                context.staging.expect(
                    [video.path for task in (*tasks, *following) for video in task.videos]
                )
                _run_session(tasks, context, observer)

    def close(self) -> None:
        """Nothing is held."""


def _with_following(
    sessions: Iterable[Sequence[Task]],
) -> Iterator[tuple[Sequence[Task], Sequence[Task]]]:
    """Each session with the one after it; the last with nothing."""
    before: Sequence[Task] | None = None
    for tasks in sessions:
        if before is not None:
            yield before, tasks
        before = tasks
    if before is not None:
        yield before, ()


def _run_session(tasks: Sequence[Task], context: Context, observer: Observer) -> None:
    uses = Counter(name for task in tasks for name in task.inputs)
    values: dict[str, Any] = {}
    for task in tasks:
        observer.progress(Progress(task.id, 0, task.n_frames, context.worker))
        summary, results = execute(task, [values[name] for name in task.inputs], context)
        values.update(zip(task.outputs, results, strict=True))
        for name in task.inputs:
            uses[name] -= 1
            if uses[name] == 0:
                del values[name]  # a long video's table is not held longer than it is needed
        observer.finished(summary)
