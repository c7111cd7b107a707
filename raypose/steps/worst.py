"""Clips of the moments that look worst, labelled, and a table of these moments.

Which moments these are is known only when the table is: the step's one planned output is the table
of moments. Its record names the clips, so that a later run checks these too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raypose import storage
from raypose.rendering.style import PLAIN, Style
from raypose.steps.base import Outcome, TableSource
from raypose.steps.label import draw, drawing_provenance, labeled_bytes
from raypose.steps.measured import MeasuredStep, metrics_provenance
from raypose.steps.provenance import commit_from_table
from raypose.storage import AnyPath, as_path, records
from raypose.worker.context import Context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from raypose.metrics.worst import FrameScores
    from raypose.tables.keypoints import KeypointTable

_CLIPS = "clips"
"""Name of the list of clips among what is recorded of the table of moments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worst(MeasuredStep):
    """Find the worst moments of a table, and cut a labelled clip around each.

    Attributes:
        n: how many at most.
        duration_s: length of a clip in seconds.
        style: how the keypoints look.
        encoder: of the clips.
    """

    name = "worst"
    title = "worst moments"
    reads_frames = True

    n: int
    duration_s: float
    style: Style = PLAIN
    encoder: str = "x264"

    @classmethod
    def planned(cls, source: TableSource) -> Worst | None:
        config = source.config
        # The smoothed ensemble's table says where the members disagree.
        if config.worst is None or source.is_member:
            return None
        path = source.paths.worst
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={
                "moments": path,
                **{clip.name: str(clip) for clip in recorded_clips(as_path(path))},
            },
            provenance={
                "kind": "worst",
                **source.inputs,
                **drawing_provenance(source),
                **metrics_provenance(source),
                "n": config.worst,
                "duration_s": config.worst_s,
            },
            n=config.worst,
            duration_s=config.worst_s,
            metrics=source.metrics,
            data_dir=source.data_dir,
            style=source.style,
            encoder=config.encoder,
        )

    @property
    def disk_bytes(self) -> float:
        n_frames = min(self.n * self.duration_s * self.video.fps, self.video.n_frames)
        return labeled_bytes(self.video, n_frames)

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.metrics.worst import score_frames, worst_moments

        (table,) = inputs
        index = context.index(self.video)
        measured = self.measured(table, context)
        threshold = self.model.confidence_threshold
        scores = score_frames(measured.table, measured.metrics, threshold)
        moments = worst_moments(scores.total, self.n, round(self.duration_s * index.fps))
        place = as_path(self.outputs["moments"])
        stem = place.stem.removesuffix("_worst")
        clips = [place.parent / f"{stem}_frame{frame:08d}.mp4" for frame in moments]
        for clip, frame in zip(clips, moments, strict=True):
            start, stop = clip_range(table, index.times_s, int(frame), self.duration_s)
            stats = {"frame": int(frame), "start": start, "stop": stop}
            with commit_from_table(
                self, table, str(clip), context.video_check, stats=stats
            ) as temporary:
                draw(self, table, temporary, context, start=start, stop=stop)
        names = [clip.name for clip in clips]
        with commit_from_table(self, table, str(place), stats={_CLIPS: names}) as temporary:
            _write_moments(temporary, moments, index.times_s, scores, names)
        _remove_old_clips(place, stem, names)
        made = [*map(str, clips), str(place)]
        return Outcome([None], made, {"n_moments": len(clips)}, list(measured.warnings))


def recorded_clips(moments: AnyPath) -> list[AnyPath]:
    """The clips that belong to a table of moments by its record, the worst moment first."""
    names = (records.read_record(moments) or {}).get("facts", {}).get(_CLIPS)
    known = names if isinstance(names, list) else ()
    return [moments.parent / name for name in known if isinstance(name, str)]


def clip_range(
    table: KeypointTable, times_s: NDArray[np.float64], frame: int, duration_s: float
) -> tuple[int, int]:
    """The frames around a moment: first, and the one after the last.

    The clip ends before the next frame without a picture on either side.
    """
    import numpy as np

    from raypose.video.frames import without_picture

    around = times_s[frame] + np.array([-0.5, 0.5]) * duration_s
    start, stop = (int(place) for place in np.searchsorted(times_s, around))
    stop = max(stop, frame + 1)
    if table.frames is not None:
        bad = start + np.flatnonzero(without_picture(table.frames.statuses[start:stop]))
        start = max([start, *(bad[bad < frame] + 1)])
        stop = min([stop, *bad[bad > frame]])
    return int(start), int(stop)


def _write_moments(
    path: Path,
    moments: NDArray[np.int64],
    times_s: NDArray[np.float64],
    scores: FrameScores,
    clips: Sequence[str],
) -> None:
    """One row per moment, the worst first: its score, what that is made of, and its clip."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "time_s", "score", *scores.parts, "clip"])
        for frame, clip in zip(moments, clips, strict=True):
            values = (scores.total[frame], *(part[frame] for part in scores.parts.values()))
            numbers = ["" if value != value else f"{value:.4f}" for value in values]
            writer.writerow([frame, f"{times_s[frame]:.3f}", *numbers, clip])


def _remove_old_clips(moments: AnyPath, stem: str, clips: Sequence[str]) -> None:
    """Remove the clips of an earlier table of this video, but no file of the user's."""
    pattern = re.compile(re.escape(stem) + r"_frame\d{8,}\.mp4")
    for path in storage.list_files(moments.parent):
        if pattern.fullmatch(path.name) and path.name not in clips:
            if not records.check(path, {}).untracked:
                storage.store_of(path).remove(path)
                storage.store_of(path).remove(records.record_path(path))
