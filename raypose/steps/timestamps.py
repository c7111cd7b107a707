"""Write the time and status of each frame of a video without damage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raypose.steps.outcome import Outcome
from raypose.storage import as_path
from raypose.tasks import Task, TimestampsArgs
from raypose.video.frames import Frames
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; it has no result."""
    import numpy as np

    from raypose.steps.frame_files import commit_frames

    args = task.args
    assert isinstance(args, TimestampsArgs)
    (table,) = inputs
    facts = {"n_rows": table.n_frames}
    if table.frames is not None:  # written with the table
        return Outcome([None], [], facts)
    index = context.index(args.video)
    frames = Frames(index.times_s, np.zeros(table.n_frames, np.int8))
    made = commit_frames(
        as_path(args.table),
        args.table_recipe,
        frames,
        source=args.video.path,
        videos=context.video_check.seen([args.video], behind=table.origin),
        always=True,
        origin=table.origin,
    )
    return Outcome([None], made, facts)
