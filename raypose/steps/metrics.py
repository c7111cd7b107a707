"""The metrics of a table: temporal norm and PCA errors, one CSV per metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.measured import Measured, MeasuredStep, metrics_provenance
from raypose.steps.provenance import commit_from_table
from raypose.tables.keypoints import write_metric_csv
from raypose.worker.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(MeasuredStep):
    """Compute the metrics, and commit a table of each."""

    name = "metrics"
    title = "metrics"

    @classmethod
    def planned(cls, source: TableSource) -> Metrics | None:
        if not source.metrics:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={name: source.paths.metric(name) for name in source.metrics},
            provenance={"kind": "metrics", **source.inputs, **metrics_provenance(source)},
            metrics=source.metrics,
            data_dir=source.data_dir,
        )

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        return write_metrics(self, self.measured(table, context), self.outputs, context)


def write_metrics(
    step: TableStep, measured: Measured, outputs: Mapping[str, str], context: Context
) -> Outcome:
    """Commit the metrics that there are; `outputs` says where."""
    table = measured.table
    for name, values in measured.metrics.items():
        with commit_from_table(step, table, outputs[name]) as temporary:
            write_metric_csv(temporary, table.keypoint_names, values, context.budget.write)
    made = [outputs[name] for name in measured.metrics]
    return Outcome([None], made, warnings=list(measured.warnings))
