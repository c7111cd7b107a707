"""Running a task, in one process or on Ray: where the errors of a step become values."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from raypose.errors import CancelledError, Failure
from raypose.steps.base import Outcome, Summary, Task
from raypose.worker.context import Context
from raypose.worker.memory import release_memory


def execute(task: Task, inputs: Sequence[Any], context: Context) -> tuple[Summary, list[Any]]:
    """Run one task; returns what the driver is told, and one result for each of its outputs.

    Inputs are `Failure` values where a task before it failed. An error comes back as one, too;
    only a stopped run (`CancelledError`, `KeyboardInterrupt`) raises.
    """
    began = time.perf_counter()
    step = task.step
    failed = next((value for value in inputs if isinstance(value, Failure)), None)
    if failed is not None and step.needs_all_inputs:
        outcome = Outcome([failed.as_skipped(step.name)] * len(task.outputs))
    else:
        with context.task(task.id, task.n_frames):
            try:
                outcome = step.run(inputs, context)
            except CancelledError:
                raise
            except Exception as error:  # every error of one task stays an error of that task
                named = Failure.of(step.name, context.video_check.explained(error))
                outcome = Outcome([named] * len(task.outputs))
            outcome.results = [context.staging.named(result) for result in outcome.results]
    release_memory()
    failures = tuple(value for value in outcome.results if isinstance(value, Failure))
    summary = Summary(
        task=task.id,
        made=tuple(outcome.made),
        stats=outcome.stats,
        failures=() if step.may_fail else failures,
        warnings=tuple(outcome.warnings),
        seconds=time.perf_counter() - began,
        worker=context.worker,
    )
    return summary, outcome.results
