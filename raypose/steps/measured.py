"""What the steps share that work with the metrics of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from raypose.errors import LabelsError
from raypose.metrics.compute import TEMPORAL_NORM, compute_metrics, keypoints_of
from raypose.steps.base import TableSource, TableStep
from raypose.tables.keypoints import KeypointTable
from raypose.worker.context import Context

_Metrics = tuple[Mapping[str, NDArray[Any]], Sequence[str]]

BYTES_PER_KEYPOINT = 160
"""Memory per frame and keypoint, from benchmarks/memory.py: 2,591 MiB for 1,000,000 × 17."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A table with its metrics.

    Attributes:
        table: of the keypoints that the model has, in its order.
        metrics: name → values in pixels, (n_frames, n_keypoints), in the keypoints of `table`.
        warnings: why metrics that were asked for are left out.
    """

    table: KeypointTable
    metrics: Mapping[str, NDArray[Any]]
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep(TableStep):
    """A step on a table and its metrics; those are computed once for all such steps.

    Attributes:
        metrics: names of the metrics.
        data_dir: as in `TableSource`.
    """

    metrics: tuple[str, ...]
    data_dir: str = ""

    @property
    def memory_bytes(self) -> int:
        return BYTES_PER_KEYPOINT * self.video.n_frames * len(self.model.keypoint_names)

    def measured(self, table: KeypointTable, context: Context) -> Measured:
        """The whole table that the step takes, with its metrics."""

        def compute() -> _Metrics:
            return _compute(self, table, self.metrics, context, self.data_dir)

        if table.origin is None:  # nothing tells it from other tables
            found = compute()
        else:
            labels = self.provenance.get("labels")
            of = (table.origin, self.model.fingerprint, self.metrics, labels, self.data_dir)
            found = context.metrics(of, compute)
        return Measured(keypoints_of(table, self.model), *found)


def metrics_provenance(source: TableSource) -> dict[str, Any]:
    """What decides the metrics of a table beside the table."""
    return {"metrics": list(source.metrics), "labels": source.labels}


def measure(
    step: TableStep, table: KeypointTable, names: Sequence[str], context: Context, data_dir: str
) -> Measured:
    """A table, or a part of one, with these metrics as far as they can be computed."""
    found = _compute(step, table, names, context, data_dir)
    return Measured(keypoints_of(table, step.model), *found)


def _compute(
    step: TableStep, table: KeypointTable, names: Sequence[str], context: Context, data_dir: str
) -> _Metrics:
    """Metrics and warnings, as in `Measured`."""
    pca, warnings = None, []
    if set(names) - {TEMPORAL_NORM}:
        try:
            pca = context.pca(step.model, data_dir, str(step.provenance.get("labels", "")))
        except LabelsError as error:
            warnings.append(f"PCA metrics are left out: {error}")
    computed = compute_metrics(table, step.model, pca) if names else {}
    return {name: computed[name] for name in names if name in computed}, warnings
