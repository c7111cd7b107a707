"""The table of predictions of one model and video, stitched from the predicted ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypose.steps.base import Outcome, OutputStep, Step
from raypose.steps.frame_files import COUNTS, commit_table, refuse_damage
from raypose.steps.load import Load
from raypose.steps.provenance import joined
from raypose.steps.ranges import range_folder, read_range, remove_ranges
from raypose.storage import as_path, digests, records
from raypose.storage.origins import Origin, VideoRead, videos_of
from raypose.storage.provenance import Provenance
from raypose.tables.keypoints import COORDS, KeypointTable
from raypose.video.frames import Frames, describe
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
        output = self.outputs["table"]
        made = commit_table(
            table, frames, output, provenance, self.video, {}, context.budget.write
        )
        remove_ranges(range_folder(as_path(output)))
        stats: dict[str, Any] = {"n_rows": table.n_frames, COUNTS: frames.counts}
        warnings = []
        if not frames.all_ok:
            stats["damaged"] = {self.video.path: frames.counts}
            warnings.append(describe(frames.counts))
        return Outcome([table], made, stats, warnings)

    def _joined(
        self, inputs: Sequence[Any]
    ) -> tuple[Any, Frames, Provenance, tuple[VideoRead, ...]]:
        """Keypoints, frames, provenance and videos of all ranges together."""
        arriving = iter(inputs)
        parts, frames_of_parts = [], []
        made_from: list[Mapping[str, Any]] = []
        videos: list[VideoRead] = []
        for _, _, path in self.ranges:
            if path:
                values, frames = read_range(as_path(path))
                record = records.read_record(as_path(path)) or {}
                made_from.append(record.get("made_from", self.provenance))
                videos += videos_of(record) or ()
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
