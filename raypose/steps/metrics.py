"""The metrics of a table: temporal norm and PCA errors, one CSV per metric."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from raypose.errors import LabelsError
from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.provenance import commit_from_table
from raypose.tables.keypoints import write_metric_csv
from raypose.worker.context import Context

BYTES_PER_KEYPOINT = 160
"""Memory per frame and keypoint, from benchmarks/memory.py: 2,591 MiB for 1,000,000 × 17."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(TableStep):
    """Compute the metrics, and commit a table of each; `data_dir` as in `TableSource`."""

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


def measure(
    step: TableStep, table: Any, names: Iterable[str], context: Context, data_dir: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """These metrics of `table`, as far as they can be computed, and warnings about the others."""
    from raypose.metrics.compute import TEMPORAL_NORM, compute_metrics

    pca, warnings = None, []
    if set(names) - {TEMPORAL_NORM}:
        try:
            pca = context.pca(step.model, data_dir, str(step.provenance.get("labels", "")))
        except LabelsError as error:
            warnings.append(f"PCA metrics are left out: {error}")
    computed = compute_metrics(table, step.model, pca)
    return {name: computed[name] for name in names if name in computed}, warnings


def write_metrics(
    step: TableStep, table: Any, outputs: Mapping[str, str], context: Context, data_dir: str
) -> Outcome:
    """Compute the metrics of `table` and commit those that `outputs` names."""
    metrics, warnings = measure(step, table, outputs, context, data_dir)
    keypoints = [name for name in step.model.keypoint_names if name in table.keypoint_names]
    for name, values in metrics.items():
        with commit_from_table(step, table, outputs[name]) as temporary:
            write_metric_csv(temporary, keypoints, values, context.budget.write)
    return Outcome([None], [outputs[name] for name in metrics], warnings=warnings)
