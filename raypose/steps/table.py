"""Put the predicted ranges of a video together, and commit the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raypose.steps.outcome import Outcome
from raypose.steps.provenance import joined
from raypose.storage import as_path, ledger
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import Origin, VideoRead
from raypose.tasks import TableArgs, Task
from raypose.video.frames import Frames
from raypose.worker.context import Context


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; its result is the table."""
    import numpy as np

    from raypose.steps.frame_files import COUNTS, commit_frames, refuse_damage
    from raypose.steps.ranges import read_range, remove_ranges
    from raypose.tables.keypoints import KeypointTable, write_csv
    from raypose.video.frames import describe

    args = task.args
    assert isinstance(args, TableArgs)
    arriving = iter(inputs)
    parts, frames_of_parts = [], []
    made_from: list[Mapping[str, Any]] = []
    videos: list[VideoRead] = []
    for _, _, path in args.ranges:
        if path:
            values, frames = read_range(as_path(path))
            known = ledger.recorded(as_path(path))
            made_from.append(args.recipe if known is None else known.made_from)
            videos += [] if known is None else known.origin.videos
        else:
            predicted = next(arriving)
            values, frames = predicted.values, predicted.frames
            made_from.append(predicted.recipe or args.recipe)
            videos += predicted.videos
        parts.append(values)
        frames_of_parts.append(frames)
    recipe, read = joined(args.video, made_from, videos)
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    frames = Frames.joined(frames_of_parts)
    if args.strict:
        refuse_damage(frames, args.video.path)
    model = args.owner.model
    origin = Origin(ledger.digest_of(recipe), read)
    table = KeypointTable(
        model.scorer,
        model.keypoint_names,
        ("x", "y", "likelihood"),
        values,
        origin=origin,
        frames=frames,
    )
    facts = {"n_rows": table.n_frames, COUNTS: frames.counts}
    output = as_path(args.output)
    source = args.video.path
    made = commit_frames(output, recipe, frames, source=source, videos=read)
    with ledger.committing(
        output, recipe, source=source, facts=facts, videos=lambda: read
    ) as temporary:
        write_csv(table, temporary, context.budget.write)
    remove_ranges(output.parent / HIDDEN / "ranges" / output.stem)
    warnings = []
    if not frames.all_ok:
        warnings.append(describe(frames.counts))
    if table.n_frames != args.video.n_frames:
        warnings.append(
            f"the container lists {args.video.n_frames} frames, {table.n_frames} came out; "
            "the table has those"
        )
    return Outcome([table], [args.output, *made], facts, warnings)
