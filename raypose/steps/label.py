"""The labelled video of a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from raypose.rendering.style import PLAIN, Style
from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.provenance import commit_from_table
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(TableStep):
    """Draw the labelled video.

    Attributes:
        style: how the keypoints look.
        encoder: `x264` or `nvenc`.
    """

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
            outputs={"labeled": str(source.paths.labeled)},
            provenance={"kind": "label", **source.inputs, **drawing_provenance(source)},
            style=source.style,
            encoder=source.config.encoder,
        )

    @property
    def needs_gpu_encoder(self) -> bool:
        return self.encoder == "nvenc"

    @property
    def disk_bytes(self) -> float:
        return labeled_bytes(self.video, self.video.n_frames)

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.rendering.labeled_video import draw_labeled_video
        from raypose.video.writer import LABELED_BY

        (table,) = inputs
        index = context.index(self.video)
        output = self.outputs["labeled"]
        with commit_from_table(self, table, output, context.video_check) as temporary:
            n_frames = draw_labeled_video(
                index,
                table.xy,
                table.likelihood,
                temporary,
                threshold=self.model.confidence_threshold,
                look=self.style.look(table.keypoint_names),
                settings=LABELED_BY[self.encoder],
                threads=context.budget.draw,
                memory_bytes=context.budget.memory_bytes,
                on_progress=context.report,
                should_stop=context.should_stop,
            )
        return Outcome([None], [output], {"n_frames": n_frames})
