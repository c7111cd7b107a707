"""Runs the whole plan in one process, without Ray: for debugging, and where Ray is not wanted."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import chain
from typing import Any

from raypose.config import Settings
from raypose.execution.base import Observer
from raypose.execution.events import (
    Action,
    Event,
    Finished,
    Forget,
    StartWorker,
    Submit,
    TasksAdded,
    WorkerUp,
)
from raypose.execution.scheduler import Scheduler
from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Task
from raypose.steps.execute import execute
from raypose.worker.context import Context


class InlineExecutor:
    """Runs one task after the other, on one device."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._device = ""

    def start(self, models: Sequence[ModelSpec]) -> int:
        if not self._config.predicts:
            return 0
        from raypose.inference.device import resolve_device

        self._device = f", on {resolve_device(self._config.device)}"
        return 1

    @property
    def description(self) -> str:
        return f"this process{self._device}"

    def run(self, recordings: Iterable[Sequence[Task]], observer: Observer) -> None:
        from raypose.inference.artifact import cached_graph
        from raypose.inputs.probe import known_index

        allow_unsafe = self._config.allow_unsafe_checkpoint
        context = Context(
            device=self._config.device,
            graph=lambda model: cached_graph(model, allow_unsafe=allow_unsafe),
            index=known_index,
            report=observer.progress,
            should_stop=lambda: False,  # Ctrl-C interrupts the process itself
            worker=f"{socket.gethostname()}:{os.getpid()}",
            allow_unsafe=allow_unsafe,
        )
        with closing(context.staging):
            _Process(context, observer).run(tuple(chain.from_iterable(recordings)))

    def close(self) -> None:
        """There is nothing to release."""


class _Process:
    """This process as one worker with a GPU and one without."""

    def __init__(self, context: Context, observer: Observer) -> None:
        self._context = context
        self._observer = observer
        self._scheduler = Scheduler(1, 1)
        self._assigned: list[Submit] = []
        self._values: dict[str, Any] = {}

    def run(self, tasks: tuple[Task, ...]) -> None:
        self._do(self._scheduler.start())
        self._handle(TasksAdded(tasks))
        while not self._scheduler.is_done:
            # CPU tasks first: they write results to disk and free memory.
            submit = min(self._assigned, key=lambda submit: submit.task.gpu)
            self._assigned.remove(submit)
            self._execute(submit)

    def _execute(self, submit: Submit) -> None:
        task, context = submit.task, self._context
        self._observer.progress(Progress(task.id, 0, task.n_frames, context.worker))
        inputs = [self._values[name] for name in task.inputs]
        summary, results = execute(task, inputs, context)
        self._values.update(zip(task.outputs, results, strict=True))
        del inputs, results  # do not hold a long video's table longer than needed
        self._handle(Finished(task.id, submit.attempt))
        self._observer.finished(summary)

    def _handle(self, event: Event) -> None:
        self._do(self._scheduler.handle(event))

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case StartWorker(number):
                    self._handle(WorkerUp(number))
                case Submit(task):
                    self._assigned.append(action)
                    if task.gpu:
                        self._context.staging.expect([video.path for video in task.step.videos])
                case Forget(output):
                    self._values.pop(output, None)
                case _:
                    raise AssertionError(f"one process can't lose work: {action}")
