"""Predict a range of frames of a video with some models, decoding once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypose.errors import Failure
from raypose.steps.outcome import Outcome
from raypose.steps.provenance import boxes_as_planned, videos_read
from raypose.storage import as_path, recipes
from raypose.storage.origins import VideoRead
from raypose.tasks import PredictArgs, Task
from raypose.video.frames import Frames
from raypose.worker.context import Context


@dataclass(frozen=True, slots=True)
class Predicted:
    """The keypoints of a range of frames, between `predict` and `table`.

    Attributes:
        values: shape (n_frames, n_keypoints, 3): x and y in pixels of the frame, likelihood.
        frames: time and status of each; NaN and likelihood 0 where corrupt or missing.
        recipe: what they were made from, with the settings that were used.
        videos: the videos that were read.
    """

    values: Any
    frames: Frames
    recipe: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[VideoRead, ...] = ()


def run(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    """Do the task; one result for each video of each model."""
    import numpy as np

    from raypose.inference.loop import predict_views
    from raypose.steps.frame_files import COUNTS, refuse_damage
    from raypose.steps.ranges import write_range
    from raypose.video.frames import count

    args = task.args
    assert isinstance(args, PredictArgs)
    predictors = []
    n_loaded_before = context.n_loaded
    broken: dict[int, Failure] = {}
    for i, model in enumerate(args.models):
        try:
            predictors.append(context.predictor(model, args.precision))
        except Exception as error:  # a model that can't be loaded leaves the others their video
            broken[i] = Failure.of(task.kind, error)
    indexes = [context.index(video) for video in args.videos] if predictors else []
    for video in args.videos if predictors and args.start == 0 else ():
        context.witness.hash_along(video)
    began = time.perf_counter()
    members = (
        predict_views(
            indexes,
            predictors,
            start=args.start,
            stop=args.stop,
            batch_size=args.batch_size,
            decoder=args.decoder,
            reader_threads=context.budget.reader,
            compute_threads=context.budget.compute,
            boxes=boxes_as_planned(args) if any(args.boxes) else None,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
        if predictors
        else []
    )
    took_s = time.perf_counter() - began
    outcome = Outcome([])
    videos = videos_read(args, members, context.witness)
    used = iter(predictors)
    remaining = iter(members)
    for i in range(len(args.models)):
        member = broken[i] if i in broken else next(remaining)
        predictor = None if i in broken else next(used)
        if isinstance(member, Failure):
            outcome.results += [member] * len(args.videos)
            continue
        for v, (video, view) in enumerate(zip(args.videos, member, strict=True)):
            if args.strict:
                refuse_damage(view.frames, video.path)
            output = i * len(args.videos) + v
            assert predictor is not None
            recipe = recipes.as_done(
                args.recipes[output],
                precision=predictor.precision,
                decoder="cpu" if view.not_nvdec else args.decoder,
            )
            if args.range_dirs and args.range_dirs[output]:
                write_range(
                    as_path(args.range_dirs[output]),
                    args.start,
                    view.values,
                    recipe,
                    frames=view.frames,
                    source=video.path,
                    videos=videos,
                )
            outcome.results.append(Predicted(view.values, view.frames, recipe, videos))
        if member[0].not_nvdec:
            outcome.warnings = [f"decoded on the CPU: {member[0].not_nvdec}"]
        outcome.facts = {
            "n_frames": len(member[0].values),
            COUNTS: count(np.concatenate([view.frames.statuses for view in member])),
            "n_loaded": context.n_loaded - n_loaded_before,
            "device": str(predictors[0].network.device),
            "predict_s": took_s,
            **member[0].seconds,
        }
    return outcome
