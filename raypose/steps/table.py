"""The table of predictions of one model and video, stitched from the predicted ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raypose.steps.base import NOTES, Outcome, OutputStep, Step
from raypose.steps.load import Load
from raypose.steps.provenance import joined
from raypose.storage import as_path, commits, digests, records
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import Origin, VideoRead
from raypose.storage.provenance import Provenance
from raypose.video.frames import Frames
from raypose.worker.context import Context

_BYTES_PER_KEYPOINT = 12  # of a row in memory: x, y and likelihood


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(OutputStep):
    """Put the ranges together, and commit the table; its result is the table.

    Attributes:
        ranges: `(start, stop, path)` in order; those without a path come as inputs, in order,
            the others from an earlier run's files.
        strict: whether a frame that is not ok fails the video.
    """

    name = "table"
    title = "predictions"

    ranges: tuple[tuple[int, int, str], ...] = ()
    strict: bool = False

    @property
    def tables(self) -> tuple[str, ...]:
        return (self.outputs["table"],)

    @property
    def memory_bytes(self) -> int:
        # The ranges, the rows together, and the text of some of them.
        return 3 * self.video.n_frames * len(self.model.keypoint_names) * _BYTES_PER_KEYPOINT

    def from_disk(self) -> Step | None:
        return Load(videos=self.videos, path=self.outputs["table"])

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.steps.frame_files import COUNTS, commit_frames, refuse_damage
        from raypose.steps.ranges import remove_ranges
        from raypose.tables.keypoints import COORDS, KeypointTable, write_csv
        from raypose.video.frames import describe

        values, frames, provenance, read = self._joined(inputs)
        if self.strict:
            refuse_damage(frames, self.video.path)
        table = KeypointTable(
            self.model.scorer,
            self.model.keypoint_names,
            COORDS,
            values,
            origin=Origin(digests.digest_of_json(provenance), read),
            frames=frames,
        )
        stats: dict[str, Any] = {"n_rows": table.n_frames, COUNTS: frames.counts}
        output = as_path(self.outputs["table"])
        source = self.video.path
        made = commit_frames(output, provenance, frames, source=source, videos=read)
        warnings = []
        if table.n_frames != self.video.n_frames:
            warnings.append(
                f"the container lists {self.video.n_frames} frames, {table.n_frames} came out; "
                "the table has those"
            )
        recorded = {**stats, NOTES: list(warnings)} if warnings else stats
        with commits.committing(
            output, provenance, source=source, stats=recorded, videos=lambda: read
        ) as temporary:
            write_csv(table, temporary, context.budget.write)
        remove_ranges(output.parent / HIDDEN / "ranges" / output.stem)
        if not frames.all_ok:
            stats["damaged"] = {source: frames.counts}
            warnings.append(describe(frames.counts))
        return Outcome([table], [*self.tables, *made], stats, warnings)

    def _joined(
        self, inputs: Sequence[Any]
    ) -> tuple[Any, Frames, Provenance, tuple[VideoRead, ...]]:
        """Keypoints, frames, provenance and videos of all ranges together."""
        import numpy as np

        from raypose.steps.ranges import read_range

        arriving = iter(inputs)
        parts, frames_of_parts = [], []
        made_from: list[Mapping[str, Any]] = []
        videos: list[VideoRead] = []
        for _, _, path in self.ranges:
            if path:
                values, frames = read_range(as_path(path))
                known = records.recorded(as_path(path))
                made_from.append(self.provenance if known is None else known.made_from)
                videos += [] if known is None else known.origin.videos
            else:
                predicted = next(arriving)
                values, frames = predicted.values, predicted.frames
                made_from.append(predicted.provenance or self.provenance)
                videos += predicted.videos
            parts.append(values)
            frames_of_parts.append(frames)
        provenance, read = joined(self.video, made_from, videos)
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return values, Frames.joined(frames_of_parts), provenance, read
