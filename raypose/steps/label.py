"""The labelled video of a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypose.rendering.style import PLAIN, Style
from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.provenance import commit_from_table
from raypose.tables.keypoints import KeypointTable
from raypose.worker.context import Context

_BITS_PER_PIXEL = 0.12
"""Size of labelled videos, from the bit rate of noisy laboratory videos."""


def labeled_bytes(video: Any, n_frames: float) -> float:
    """Estimated size of a labelled video with this number of frames."""
    return n_frames * float(video.width * video.height) * _BITS_PER_PIXEL / 8


def drawing_provenance(source: TableSource) -> dict[str, Any]:
    """What decides how the markers look."""
    model = source.owner.model
    assert model is not None
    return {
        "threshold": model.confidence_threshold,
        "encoder": source.config.encoder,
        **source.style.provenance(source.keypoints),
    }


def draw(step: Any, table: KeypointTable, output: Path, context: Context, **how: Any) -> int:
    """Draw the table's keypoints on its video, in the step's style.

    `how` as in `draw_labeled_video`.

    Returns the number of frames.
    """
    from raypose.rendering.labeled_video import draw_labeled_video
    from raypose.video.writer import LABELED_BY

    return draw_labeled_video(
        context.index(step.video),
        table.xy,
        table.likelihood,
        output,
        threshold=step.model.confidence_threshold,
        look=step.style.look(table.keypoint_names),
        settings=LABELED_BY[step.encoder],
        threads=context.budget.draw,
        memory_bytes=context.budget.memory_bytes,
        should_stop=context.should_stop,
        **how,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(TableStep):
    """Draw the labelled video."""

    name = "label"
    title = "labelled video"
    reads_frames = True
    frame_cost = 0.4

    style: Style = PLAIN
    encoder: str = "x264"

    @classmethod
    def planned(cls, source: TableSource) -> Label | None:
        if "full" not in source.config.label:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={"labeled": source.paths.labeled},
            provenance={"kind": "label", **source.inputs, **drawing_provenance(source)},
            style=source.style,
            encoder=source.config.encoder,
        )

    @property
    def disk_bytes(self) -> float:
        return labeled_bytes(self.video, self.video.n_frames)

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        output, report = self.outputs["labeled"], context.report
        with commit_from_table(self, table, output, context.video_check) as temporary:
            n_frames = draw(self, table, temporary, context, on_progress=report)
        return Outcome([None], [output], {"n_frames": n_frames})
