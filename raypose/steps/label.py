"""Draw the labelled video of a whole table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raypose.steps.outcome import Outcome
from raypose.steps.provenance import made_of
from raypose.tasks import LabelArgs, Task
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; it has no result."""
    from raypose.rendering.labeled_video import draw_labeled_video
    from raypose.video.writer import LABELED_BY

    args = task.args
    assert isinstance(args, LabelArgs)
    (table,) = inputs
    model = args.owner.model
    index = context.index(args.video)
    with made_of(table, args.output, args.recipe, args.video, context.witness) as temporary:
        n_frames = draw_labeled_video(
            index,
            table.xy,
            table.likelihood,
            temporary,
            threshold=model.confidence_threshold,
            colormap=model.colormap,
            settings=LABELED_BY[args.encoder],
            threads=context.budget.draw,
            memory_bytes=context.budget.memory_bytes,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
    return Outcome([None], [args.output], {"n_frames": n_frames})
