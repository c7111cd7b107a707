"""The snippet with the highest motion energy, with its table, metrics and labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypose.rendering.style import PLAIN, Style
from raypose.steps.base import NOTES, Outcome, TableSource, TableStep
from raypose.steps.label import draw, drawing_provenance, labeled_bytes
from raypose.steps.measured import measure, metrics_provenance
from raypose.steps.metrics import write_metrics
from raypose.steps.provenance import commit_from_table
from raypose.tables.keypoints import write_csv
from raypose.video.frames import describe
from raypose.worker.context import Context

_FILES = ("clip", "table", "labeled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snippet(TableStep):
    """Cut the snippet, and make of it what is made of the whole video.

    `data_dir` as in `TableSource`; `encoder` and `style` are those of the labelled clip.
    """

    name = "snippet"
    title = "snippet"
    reads_frames = True

    duration_s: float
    data_dir: str = ""
    style: Style = PLAIN
    encoder: str = "x264"

    @classmethod
    def planned(cls, source: TableSource) -> Snippet | None:
        config, paths = source.config, source.paths
        if "snippet" not in config.label:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={
                "clip": paths.snippet,
                "table": paths.snippet_predictions,
                "labeled": paths.snippet_labeled,
                **{name: paths.snippet_metric(name) for name in source.metrics},
            },
            provenance={
                "kind": "snippet",
                **source.inputs,
                **drawing_provenance(source),
                **metrics_provenance(source),
                "duration_s": config.snippet_s,
            },
            duration_s=config.snippet_s,
            data_dir=source.data_dir,
            style=source.style,
            encoder=config.encoder,
        )

    @property
    def disk_bytes(self) -> float:
        n_frames = min(self.duration_s * self.video.fps, self.video.n_frames)
        return labeled_bytes(self.video, 2 * n_frames)  # the clip and the labelled clip

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.rendering.snippet import choose_snippet, cut_snippet

        (table,) = inputs
        index = context.index(self.video)
        start, stop = choose_snippet(
            table.xy,
            table.likelihood,
            index.times_s,
            duration_s=self.duration_s,
            threshold=self.model.confidence_threshold,
            is_ok=table.is_ok,
        )
        part = table.slice(start, stop)
        stats: dict[str, Any] = {"start": start, "stop": stop}
        warnings = []
        if part.frames is not None:
            damage = describe(part.frames.counts)
            warnings.append(f"no window of the video is without damage; of the snippet, {damage}")
        recorded = {**stats, NOTES: warnings} if warnings else stats

        def commit(name: str) -> AbstractContextManager[Path]:
            output, video_check = self.outputs[name], context.video_check
            return commit_from_table(self, table, output, video_check, stats=recorded)

        with commit("clip") as temporary:
            cut_snippet(
                index,
                start,
                stop,
                temporary,
                threads=context.budget.draw,
                memory_bytes=context.budget.memory_bytes,
                should_stop=context.should_stop,
            )
        with commit("labeled") as temporary:
            draw(self, table, temporary, context, start=start, stop=stop)
        with commit("table") as temporary:
            write_csv(part, temporary, context.budget.write)
        names = [name for name in self.outputs if name not in _FILES]
        measured = measure(self, part, names, context, self.data_dir)
        metrics = write_metrics(self, measured, self.outputs, context)
        made = [self.outputs[name] for name in ("clip", "labeled", "table")] + metrics.made
        return Outcome([None], made, stats, [*metrics.warnings, *warnings])
