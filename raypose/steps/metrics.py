"""The metrics of a table: temporal norm and PCA errors, one CSV per metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raypose.errors import LabelsError
from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.provenance import commit_from_table
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.tables.keypoints import FloatArray, KeypointTable

BYTES_PER_KEYPOINT = 160
"""Memory per frame and keypoint, from benchmarks/memory.py: 2,591 MiB for 1,000,000 × 17."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(TableStep):
    """Compute the metrics, and commit a table of each.

    Attributes:
        data_dir: the user's directory of training data; empty for the one in the model's config.
    """

    name = "metrics"
    title = "metrics"

    data_dir: str = ""

    @classmethod
    def planned(cls, source: TableSource) -> Metrics | None:
        if not source.metrics:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={name: str(source.paths.metric(name)) for name in source.metrics},
            provenance={"kind": "metrics", **source.inputs, **metrics_provenance(source)},
            data_dir=source.data_dir,
        )

    @property
    def memory_bytes(self) -> int:
        return BYTES_PER_KEYPOINT * self.video.n_frames * len(self.model.keypoint_names)

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        return write_metrics(self, table, self.outputs, context, self.data_dir)


def metrics_provenance(source: TableSource) -> dict[str, Any]:
    """What decides the metrics of a table beside the table."""
    return {"metrics": list(source.metrics), "labels": source.labels}


def compute(
    step: TableStep, table: KeypointTable, names: Iterable[str], context: Context, data_dir: str
) -> tuple[dict[str, FloatArray], list[str]]:
    """The metrics of these names that can be computed, and why others can't."""
    from raypose.metrics.compute import TEMPORAL_NORM, compute_metrics

    wanted, pca, warnings = set(names), None, []
    if wanted - {TEMPORAL_NORM}:
        try:
            pca = context.pca(step.model, data_dir, str(step.provenance.get("labels", "")))
        except LabelsError as error:
            warnings.append(f"PCA errors are left out: {error}")
    metrics = compute_metrics(table, step.model, pca) if wanted else {}
    return {name: values for name, values in metrics.items() if name in wanted}, warnings


def write_metrics(
    step: TableStep, table: Any, outputs: Mapping[str, str], context: Context, data_dir: str
) -> Outcome:
    """Compute the metrics of `table` and commit those that `outputs` names."""
    from raypose.tables.keypoints import write_metric_csv

    outcome = Outcome([None])
    metrics, outcome.warnings = compute(step, table, outputs, context, data_dir)
    keypoints = [name for name in step.model.keypoint_names if name in table.keypoint_names]
    for name, output in outputs.items():
        if name not in metrics:
            continue
        with commit_from_table(step, table, output) as temporary:
            write_metric_csv(temporary, keypoints, metrics[name], context.budget.write)
        outcome.made.append(output)
    return outcome
