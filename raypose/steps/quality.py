"""How far a table can be trusted, in numbers: a JSON file beside the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.steps.base import Outcome, TableSource
from raypose.steps.measured import MeasuredStep, metrics_provenance
from raypose.steps.provenance import commit_from_table
from raypose.tables.keypoints import KeypointTable
from raypose.text import json_text
from raypose.worker.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality(MeasuredStep):
    """Summarize a table, over all keypoints and for each."""

    name = "quality"
    title = "quality"

    @classmethod
    def planned(cls, source: TableSource) -> Quality | None:
        model = source.owner.model
        if not source.metrics or model is None:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={"quality": source.paths.quality},
            provenance={
                "kind": "quality",
                **source.inputs,
                **metrics_provenance(source),
                "threshold": model.confidence_threshold,
            },
            metrics=source.metrics,
            data_dir=source.data_dir,
        )

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        measured = self.measured(table, context)
        threshold = self.model.confidence_threshold
        output = self.outputs["quality"]
        with commit_from_table(self, table, output) as temporary:
            summary = summarize(measured.table, measured.metrics, threshold)
            temporary.write_text(json_text(summary, indent=1), encoding="utf-8")
        return Outcome([None], [output], warnings=list(measured.warnings))


def summarize(
    table: KeypointTable, metrics: Mapping[str, NDArray[Any]], threshold: float
) -> dict[str, Any]:
    """The quality of a table.

    Args:
        metrics: name → values in pixels, shape (n_frames, n_keypoints).
        threshold: likelihood from which a keypoint counts as confident.

    Returns:
        `frames`: the number of each status; `below_threshold`: the share of keypoints that are
        not confident, of those in frames with a picture; for each metric and, of an ensemble, for
        its variance (of x plus y, in pixels squared): median and 99th percentile. What can't be
        computed is null.
    """
    names = table.keypoint_names
    if table.frames is None:
        counts: dict[str, int] = {"ok": table.n_frames}
    else:
        counts = table.frames.counts
    seen = table.has_picture
    low = ~(table.likelihood[seen] >= threshold)  # one without a number, too, is not confident
    spreads = dict(metrics)
    if (variance := table.ensemble_variance) is not None:
        spreads["ensemble_variance"] = variance[seen]
    return {
        "n_frames": table.n_frames,
        "frames": counts,
        "below_threshold": {
            "threshold": threshold,
            "share": float(low.mean()) if low.size else None,
            "keypoints": {
                name: float(low[:, k].mean()) if len(low) else None for k, name in enumerate(names)
            },
        },
        **{
            name: {
                **_spread(values),
                "keypoints": {key: _spread(values[:, k]) for k, key in enumerate(names)},
            }
            for name, values in spreads.items()
        },
    }


def _spread(values: NDArray[Any]) -> dict[str, float | None]:
    """Median and 99th percentile of the values that are numbers."""
    known = values[np.isfinite(values)]
    if not known.size:
        return {"median": None, "p99": None}
    median, p99 = np.percentile(known, (50, 99))
    return {"median": float(median), "p99": float(p99)}
