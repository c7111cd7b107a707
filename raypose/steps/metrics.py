"""Compute and commit the metrics of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypose.errors import LabelsError
from raypose.steps.outcome import Outcome
from raypose.steps.provenance import made_of
from raypose.tasks import MetricsArgs, SnippetArgs, Task
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; it has no result."""
    args = task.args
    assert isinstance(args, MetricsArgs)
    (table,) = inputs
    return write_metrics(args, table, args.outputs, context)


def write_metrics(
    args: MetricsArgs | SnippetArgs, table: Any, outputs: Mapping[str, str], context: Context
) -> Outcome:
    """Compute the metrics of `table` and commit those that `outputs` names."""
    from raypose.metrics.compute import TEMPORAL_NORM, compute_metrics
    from raypose.tables.keypoints import write_metric_csv

    model = args.owner.model
    outcome = Outcome([None])
    pca = None
    if set(outputs) - {TEMPORAL_NORM}:
        try:
            pca = context.pca(model, args.data_dir, str(args.recipe.get("labels", "")))
        except LabelsError as error:
            outcome.warnings.append(f"PCA metrics are left out: {error}")
    metrics = compute_metrics(table, model, pca)
    keypoints = [name for name in model.keypoint_names if name in table.keypoint_names]
    for name, output in outputs.items():
        if name not in metrics:
            continue
        with made_of(table, output, args.recipe, args.video) as temporary:
            write_metric_csv(temporary, keypoints, metrics[name], context.budget.write)
        outcome.made.append(output)
    return outcome
