"""Runs the whole plan in one process, without Ray: for debugging, and where Ray is not wanted."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from raypose.config import Settings
from raypose.execution import base, events
from raypose.execution.base import Observer, Wait
from raypose.execution.events import Finished, Forget, StartWorker, Submit, TasksAdded, WorkerUp
from raypose.execution.interrupts import stop_signals_interrupt
from raypose.execution.scheduler import Scheduler
from raypose.specs import ModelSpec, Progress
from raypose.steps.base import Task
from raypose.steps.execute import execute
from raypose.worker.budget import Budget
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.inference.artifact import NetworkArtifact

_POLL_S = 1.0  # while only other runs work on what is left


class InlineExecutor:
    """Runs one task after the other, on one device."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self.description = "this process"
        self._on_wait: Wait = lambda what: None

    def start(self, models: Sequence[ModelSpec], task_bytes: int, on_wait: Wait) -> int:
        self._on_wait = on_wait
        if not self._config.predicts:
            return 0
        from raypose.inference import passive_threads
        from raypose.inference.device import resolve_device

        with passive_threads():
            self.description += f", on {resolve_device(self._config.device)}"
        return 1

    def run(
        self, tasks: Sequence[Task], observer: Observer, claim: base.Claim | None = None
    ) -> None:
        from raypose.inference import passive_threads
        from raypose.inputs.probe import known_index

        allow_unsafe = self._config.allow_unsafe_checkpoint
        context = Context(
            device=self._config.device,
            artifact=self._artifact,
            index=known_index,
            report=observer.progress,
            should_stop=lambda: False,  # Ctrl-C interrupts the process itself
            budget=Budget.of_process(self._config.cpus, on_gpu="cuda" in self.description),
            worker=f"{socket.gethostname()}:{os.getpid()}",
            allow_unsafe=allow_unsafe,
        )
        with stop_signals_interrupt(), passive_threads(), closing(context.staging):
            _run(tasks, context, observer, claim)

    def _artifact(self, model: ModelSpec) -> NetworkArtifact:
        from raypose.inference.artifact import cached_artifact, is_cached

        if not is_cached(model):
            self._on_wait(f"Preparing the network {model.name}, first time only")
        return cached_artifact(model, allow_unsafe=self._config.allow_unsafe_checkpoint)

    def close(self) -> None:
        """There is nothing to release."""


def _run(
    tasks: Sequence[Task], context: Context, observer: Observer, claim: base.Claim | None
) -> None:
    """Run all tasks, in this process as one worker with a GPU and one without."""
    scheduler = Scheduler(1, 1)
    actions = deque(scheduler.start())
    actions += scheduler.handle(TasksAdded(tuple(tasks), to_claim=claim is not None))
    assigned: list[Submit] = []
    values: dict[str, Any] = {}
    while not scheduler.is_done:
        while actions:
            match actions.popleft():
                case StartWorker(number):
                    actions += scheduler.handle(WorkerUp(number))
                case Submit(task) as submit:
                    assigned.append(submit)
                    if task.gpu:
                        context.staging.expect([video.path for video in task.step.videos])
                case Forget(output):
                    values.pop(output, None)
                case events.Claim(recording, ahead) if claim is not None:
                    answer = claim(recording, ahead)
                    if isinstance(answer, events.Replanned):
                        observer.replanned(answer)
                    actions += scheduler.handle(answer)
                case other:
                    raise AssertionError(f"one process can't lose work: {other}")
        if not assigned:
            if not scheduler.is_done:
                time.sleep(_POLL_S)
                actions += scheduler.handle(events.TimePassed(time.monotonic()))
            continue
        # CPU tasks first: they write results to disk and free memory.
        submit = min(assigned, key=lambda submit: submit.task.gpu)
        assigned.remove(submit)
        task = submit.task
        observer.progress(Progress(task.id, 0, task.n_frames, context.worker))
        inputs = [values[name] for name in task.inputs]
        summary, results = execute(task, inputs, context)
        values.update(zip(task.outputs, results, strict=True))
        del inputs, results  # do not hold a long video's table longer than needed
        actions += scheduler.handle(Finished(task.id, submit.attempt))
        observer.finished(summary)
