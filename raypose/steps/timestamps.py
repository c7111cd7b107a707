"""The time and status of each frame of a video, also where no frame is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raypose.steps.base import Outcome, TableSource, TableStep
from raypose.steps.frame_files import commit_frames, frames_provenance
from raypose.storage import as_path
from raypose.storage.provenance import Provenance
from raypose.video.frames import Frames
from raypose.worker.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamps(TableStep):
    """Write when each frame is shown, in seconds after the first, and its status.

    The file goes beside `table`, the path of the table.
    """

    name = "timestamps"
    title = "timestamps"
    reads_frames = True

    table: str
    table_provenance: Provenance

    @classmethod
    def planned(cls, source: TableSource) -> Timestamps | None:
        if not source.config.timestamps or source.smoothed:
            return None
        return cls(
            videos=(source.video,),
            owner=source.owner,
            outputs={"frames": source.paths.frames},
            provenance=frames_provenance(source.provenance),
            table=source.paths.predictions,
            table_provenance=source.provenance,
        )

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        (table,) = inputs
        stats = {"n_rows": table.n_frames}
        if table.frames is not None:  # written with the table
            return Outcome([None], [], stats)
        index = context.index(self.video)
        made = commit_frames(
            as_path(self.table),
            self.table_provenance,
            Frames(index.times_s, np.zeros(table.n_frames, np.int8)),
            source=self.video.path,
            videos=context.video_check.seen([self.video], behind=table.origin),
            always=True,
            origin=table.origin,
        )
        return Outcome([None], made, stats)
