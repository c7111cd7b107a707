"""One way for every task: `execute` looks up its step, runs it, and turns errors into values.

A step is a module with a function `run`: it takes the task, the results that the task depends on
and the context of its process, and returns its results with what is to be told of them. Both
executors, in one process or on Ray, come through here. Steps commit their outputs themselves; see
`raypose.storage.commits`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from raypose.errors import CancelledError, Failure
from raypose.steps import label, load, metrics, predict, smooth, snippet, table, timestamps
from raypose.steps.outcome import Outcome
from raypose.tasks import LoadArgs, SmoothArgs, Summary, Task
from raypose.worker.context import Context
from raypose.worker.memory import release_memory

Step = Callable[[Task, Sequence[Any], Context], Outcome]

STEPS: dict[str, Step] = {
    "predict": predict.run,
    "table": table.run,
    "load": load.run,
    "metrics": metrics.run,
    "timestamps": timestamps.run,
    "label": label.run,
    "snippet": snippet.run,
    "smooth": smooth.run,
}
"""What does each kind of task."""


def execute(task: Task, inputs: Sequence[Any], context: Context) -> tuple[Summary, list[Any]]:
    """Do one task.

    Args:
        task: what to do.
        inputs: the results it depends on, `Failure` values among them where these came to nothing.
        context: the process it runs in.

    Returns:
        What the driver is told, and one result for each of the task's outputs. An error comes
        back as a `Failure`; only a stopped run (`CancelledError`, `KeyboardInterrupt`) raises.
    """
    began = time.perf_counter()
    failed = next((value for value in inputs if isinstance(value, Failure)), None)
    if failed is not None and not _can_do_without(task):
        outcome = Outcome([failed.as_skipped(task.kind)] * len(task.outputs))
    else:
        with context.staging.task(), context.video_check.task():
            try:
                outcome = STEPS[task.kind](task, inputs, context)
            except CancelledError:
                raise
            except Exception as error:  # every error of one task stays an error of that task
                named = Failure.of(task.kind, context.video_check.explained(error))
                outcome = Outcome([named] * len(task.outputs))
            outcome.results = [context.staging.named(result) for result in outcome.results]
    release_memory()
    failures = tuple(value for value in outcome.results if isinstance(value, Failure))
    optional = isinstance(task.args, LoadArgs) and task.args.optional
    summary = Summary(
        task=task.id,
        kind=task.kind,
        made=tuple(outcome.made),
        facts=outcome.facts,
        failures=() if optional else failures,
        warnings=tuple(outcome.warnings),
        seconds=time.perf_counter() - began,
        worker=context.worker,
    )
    return summary, outcome.results


def _can_do_without(task: Task) -> bool:
    """Whether a task may go on though something that it depends on came to nothing."""
    args = task.args
    return isinstance(args, SmoothArgs) and args.options["min_members"] is not None
