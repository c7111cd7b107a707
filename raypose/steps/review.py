"""What the report shows of a table: reduced traces, worst moments, and pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raypose.metrics.review import VERSION
from raypose.rendering.style import PLAIN, Style
from raypose.steps.base import Outcome, TableSource
from raypose.steps.measured import MeasuredStep, metrics_provenance
from raypose.steps.provenance import commit_from_table
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.metrics.review import Review as Content
    from raypose.tables.keypoints import KeypointTable
    from raypose.video.index import VideoIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Review(MeasuredStep):
    """Make what the report needs of a table, so that it need not read the table.

    Attributes:
        stills: whether to draw the worst moments, for which the video is read again.
        style: of whose colours the keypoints are drawn.
    """

    name = "review"
    title = "report data"
    reads_frames = True

    stills: bool = False
    style: Style = PLAIN

    @classmethod
    def planned(cls, source: TableSource) -> Review | None:
        model = source.owner.model
        if not source.config.report or model is None:
            return None
        look = source.style.provenance(source.keypoints)
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={"review": source.paths.review},
            provenance={
                "kind": "review",
                "version": VERSION,
                **source.inputs,
                **metrics_provenance(source),
                "threshold": model.confidence_threshold,
                "colors": look["colors"] if source.stills else "",
                "stills": source.stills,
            },
            metrics=source.metrics,
            data_dir=source.data_dir,
            stills=source.stills,
            style=source.style,
        )

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        index = context.index(self.video)
        review = self._content(table, index, context)
        output = self.outputs["review"]
        with commit_from_table(self, table, output, context.video_check) as temporary:
            review.write(temporary)
        return Outcome([None], [output])

    def _content(self, table: KeypointTable, index: VideoIndex, context: Context) -> Content:
        from raypose.metrics.review import review_table
        from raypose.steps.quality import summarize

        measured = self.measured(table, context)
        table, metrics = measured.table, measured.metrics
        threshold = self.model.confidence_threshold
        review = review_table(
            table, metrics, threshold=threshold, times_s=index.times_s, fps=index.fps
        )
        facts = {**review.facts, "quality": summarize(table, metrics, threshold)}
        pictures = self._pictures(review, table, index, context) if self.stills else {}
        return replace(review, facts=facts, **pictures)

    def _pictures(
        self, review: Content, table: KeypointTable, index: VideoIndex, context: Context
    ) -> dict[str, Any]:
        from raypose.rendering.stills import STILL_WIDTH, read_frames, still, thumbnail

        numbers = [moment["frame"] for moment in review.facts["moments"]]
        threads = context.budget.draw
        colors = self.style.look(table.keypoint_names).colors
        pictures = read_frames(
            index, numbers, width=STILL_WIDTH, threads=threads, should_stop=context.should_stop
        )
        stills = {
            n: still(
                picture,
                table.xy[n] * (picture.shape[1] / index.width),
                table.likelihood[n],
                threshold=self.model.confidence_threshold,
                colors=colors,
            )
            for n, picture in pictures.items()
        }
        return {"stills": stills, "thumbnail": thumbnail(index, table.is_ok, threads)}
