"""One way for every task: `execute` looks up its stage, runs it, and turns errors into values.

Each stage takes the task, the results that it depends on and the context of its process, and
returns its results with what is to be told of them. Both executors, in one process or on Ray,
come through here. Outputs are committed by the stages; see `raypose.ledger`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raypose import ledger, recipes
from raypose.digests import verified
from raypose.display_text import json_text
from raypose.errors import CancelledError, Failure, LabelsError, SmoothingError
from raypose.frames import Frames
from raypose.layout import HIDDEN
from raypose.origins import Origin, VideoRead, union
from raypose.stages.context import Context
from raypose.stages.memory import release_memory
from raypose.stages.provenance import (
    boxes_as_planned,
    joined,
    made_of,
    of_members,
    videos_read,
)
from raypose.storage import as_path
from raypose.tasks import (
    LabelArgs,
    LoadArgs,
    MetricsArgs,
    PredictArgs,
    SmoothArgs,
    SnippetArgs,
    Summary,
    TableArgs,
    Task,
    TimestampsArgs,
)


@dataclass
class Outcome:
    """What a stage hands back.

    Attributes:
        results: one value (or `Failure`) for each output of the task.
        made: paths of the files committed.
        facts: what is worth telling.
        warnings: what went well enough, but should be known.
    """

    results: list[Any]
    made: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def execute(task: Task, inputs: Sequence[Any], context: Context) -> tuple[Summary, list[Any]]:
    """Do one task.

    Args:
        task: what to do.
        inputs: the results it depends on, `Failure` values among them where these came to nothing.
        context: the process it runs in.

    Returns:
        What the driver is told, and one result for each of the task's outputs. An error comes
        back as a `Failure`; only a stopped run (`CancelledError`, `KeyboardInterrupt`) raises.
    """
    began = time.perf_counter()
    failed = next((value for value in inputs if isinstance(value, Failure)), None)
    if failed is not None and not _can_do_without(task):
        outcome = Outcome([failed.as_skipped(task.kind)] * len(task.outputs))
    else:
        with context.staging.task(), context.witness.task():
            try:
                outcome = STAGES[task.kind](task, inputs, context)
            except CancelledError:
                raise
            except Exception as error:  # every error of one task stays an error of that task
                named = Failure.of(task.kind, context.witness.explained(error))
                outcome = Outcome([named] * len(task.outputs))
            outcome.results = [context.staging.named(result) for result in outcome.results]
    release_memory()
    failures = tuple(value for value in outcome.results if isinstance(value, Failure))
    optional = isinstance(task.args, LoadArgs) and task.args.optional
    summary = Summary(
        task=task.id,
        kind=task.kind,
        made=tuple(outcome.made),
        facts=outcome.facts,
        failures=() if optional else failures,
        warnings=tuple(outcome.warnings),
        seconds=time.perf_counter() - began,
        worker=context.worker,
    )
    return summary, outcome.results


def _can_do_without(task: Task) -> bool:
    """Whether a task may go on though something that it depends on came to nothing."""
    args = task.args
    return isinstance(args, SmoothArgs) and args.options["min_members"] is not None


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


def _predict(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import numpy as np

    from raypose.frames import count
    from raypose.ranges import write_range
    from raypose.stages.frames import COUNTS, refuse_damage
    from raypose.stages.infer.loop import predict_views

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


def _table(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import numpy as np

    from raypose.frames import Frames, describe
    from raypose.predictions import KeypointTable, write_csv
    from raypose.ranges import read_range, remove_ranges
    from raypose.stages.frames import COUNTS, commit_frames, refuse_damage

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
        write_csv(table, temporary)
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


def _load(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.stages.frames import with_frames
    from raypose.stages.loading import load_table

    args, local = task.args, context.staging.local
    assert isinstance(args, LoadArgs)
    path = local(args.path)
    with verified(path, args.digest, "the table"):
        table = load_table(path)
    table = with_frames(table, as_path(args.path), local)
    known = ledger.recorded(as_path(args.path)) if args.recorded else None
    if known is not None and known.digest == args.digest:
        table = replace(table, origin=known.origin)
    return Outcome([table], warnings=list(table.notes))


def _metrics(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    args = task.args
    assert isinstance(args, MetricsArgs)
    (table,) = inputs
    return _write_metrics(args, table, args.outputs, context)


def _write_metrics(
    args: MetricsArgs | SnippetArgs, table: Any, outputs: Mapping[str, str], context: Context
) -> Outcome:
    """Compute the metrics of `table` and commit those that `outputs` names."""
    from raypose.predictions import write_metric_csv
    from raypose.stages.metrics import TEMPORAL_NORM, compute_metrics

    model = args.owner.model
    outcome = Outcome([None])
    pca = None
    if set(outputs) - {TEMPORAL_NORM}:
        try:
            pca = context.pca(model, args.data_dir, str(args.recipe.get("labels", "")))
        except LabelsError as error:
            outcome.warnings.append(f"PCA metrics are left out: {error}")
    metrics = compute_metrics(table, model, pca)
    keypoints = [name for name in model.keypoint_names if name in table.keypoint_names]
    for name, output in outputs.items():
        if name not in metrics:
            continue
        with made_of(table, output, args.recipe, args.video) as temporary:
            write_metric_csv(temporary, keypoints, metrics[name])
        outcome.made.append(output)
    return outcome


def _label(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.stages.overlay import draw_labeled_video
    from raypose.video.writer import LABELED_BY

    args = task.args
    assert isinstance(args, LabelArgs)
    (table,) = inputs
    model = args.owner.model
    index = context.index(args.video)
    with made_of(table, args.output, args.recipe, args.video, context.witness) as temporary:
        stats = draw_labeled_video(
            index,
            table.xy,
            table.likelihood,
            temporary,
            threshold=model.confidence_threshold,
            colormap=model.colormap,
            settings=LABELED_BY[args.encoder],
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
    return Outcome([None], [args.output], {"n_frames": stats.n_frames})


def _timestamps(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import numpy as np

    from raypose.frames import Frames
    from raypose.stages.frames import commit_frames

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
        videos=context.witness.seen([args.video], behind=table.origin),
        always=True,
        origin=table.origin,
    )
    return Outcome([None], made, facts)


def _snippet(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.frames import describe
    from raypose.predictions import write_csv
    from raypose.stages.overlay import draw_labeled_video
    from raypose.stages.snippet import choose_snippet, cut_snippet
    from raypose.video.writer import LABELED_BY

    args = task.args
    assert isinstance(args, SnippetArgs)
    (table,) = inputs
    model = args.owner.model
    index = context.index(args.video)
    start, stop = choose_snippet(
        table.xy,
        table.likelihood,
        index.times_s,
        duration_s=args.duration_s,
        threshold=model.confidence_threshold,
        is_ok=table.is_ok,
    )
    facts: dict[str, Any] = {"start": start, "stop": stop}

    def commit(output: str) -> Any:
        witness = context.witness
        return made_of(table, output, args.recipe, args.video, witness, facts=facts)

    with commit(args.clip) as temporary:
        cut_snippet(index, start, stop, temporary, should_stop=context.should_stop)
    with commit(args.labeled) as temporary:
        draw_labeled_video(
            index,
            table.xy,
            table.likelihood,
            temporary,
            threshold=model.confidence_threshold,
            colormap=model.colormap,
            settings=LABELED_BY[args.encoder],
            start=start,
            stop=stop,
            should_stop=context.should_stop,
        )
    part = table.slice(start, stop)
    with commit(args.table) as temporary:
        write_csv(part, temporary)
    made = [args.clip, args.labeled, args.table]
    measured = _write_metrics(args, part, args.metrics, context)
    warnings = list(measured.warnings)
    if part.frames is not None:
        said = describe(part.frames.counts)
        warnings.append(f"no window of the video is without damage; of the snippet, {said}")
    return Outcome([None], made + measured.made, facts, warnings)


def _smooth(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.frames import describe
    from raypose.predictions import write_csv, write_points_csv
    from raypose.stages.frames import COUNTS, commit_frames, drop_frames, frames_of_members
    from raypose.stages.smooth import fitting_members, smooth_recording

    args = task.args
    assert isinstance(args, SmoothArgs)
    n = len(args.members)
    views = {
        video.view: dict(zip(args.members, inputs[v * n : (v + 1) * n], strict=True))
        for v, video in enumerate(args.videos)
    }
    members = fitting_members(
        views,
        keypoints=args.options["keypoints"],
        min_members=args.options["min_members"],
    )
    digest = str(args.recipes[0].get("calibration", "")) if args.calibration else ""
    with verified(args.calibration, digest, "the calibration", SmoothingError):
        result = smooth_recording(
            members.tables,
            args.options,
            mirrored=args.mirrored,
            calibration=args.calibration,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
    facts = {"mode": result.mode, "reason": result.reason, "members": list(members.names)}
    warnings = [f"EKS went on without {who}: it {why}" for who, why in members.left_out.items()]
    warnings += members.notes
    # The next run makes it anew, as soon as there are more members.
    left_out = {"left_out": members.left_out} if members.left_out else {}
    origins = [None if isinstance(table, Failure) else table.origin for table in inputs]
    made_from = [
        of_members(recipe if args.final else {**recipe, **left_out}, origins, n)
        for recipe in args.recipes
    ]
    read = union(table.origin for tables in members.tables.values() for table in tables.values())
    params = {
        "mode": result.mode,
        "reason": result.reason,
        "members": list(members.names),
        **left_out,
        **({"notes": list(members.notes)} if members.notes else {}),
        "options": dict(args.options),
        "smooth_params": result.smooth_params,
    }
    source = args.video.path
    made = [args.params_output]
    results: list[Any] = []
    params_output = as_path(args.params_output)
    with ledger.committing(
        params_output, made_from[0], source=source, videos=lambda: read
    ) as temporary:
        temporary.write_text(json_text(params, indent=1), encoding="utf-8")
    if args.points_output and result.points is not None:
        points = ledger.committing(
            as_path(args.points_output),
            made_from[0],
            source=source,
            facts=facts,
            videos=lambda: read,
        )
        with points as temporary:
            write_points_csv(result.points, temporary)
        made.append(args.points_output)
    damaged: dict[str, dict[str, int]] = {}
    for video, path, recipe in zip(args.videos, args.outputs, made_from, strict=True):
        output = as_path(path)
        frames = frames_of_members(list(members.tables[video.view].values()))
        origin = Origin(ledger.digest_of(recipe), read)
        table = replace(result.tables[video.view], origin=origin, frames=frames)
        noted: dict[str, Any] = {"n_rows": table.n_frames, **facts, **left_out}
        if frames is not None:
            damaged[video.path] = noted[COUNTS] = frames.counts
            made += commit_frames(output, recipe, frames, source=video.path, videos=read)
            if args.final:  # else, those who predicted have said so
                warnings.append(f"{video.key}: {describe(frames.counts)}")
        else:
            drop_frames(output)
        with ledger.committing(
            output, recipe, source=video.path, facts=noted, videos=lambda: read
        ) as temporary:
            write_csv(table, temporary)
        made.append(path)
        results.append(table)
    told = {"n_rows": results[0].n_frames, **facts, "damaged": damaged}
    return Outcome(results, made, told, warnings)


Stage = Callable[[Task, Sequence[Any], Context], Outcome]

STAGES: dict[str, Stage] = {
    "predict": _predict,
    "table": _table,
    "load": _load,
    "metrics": _metrics,
    "timestamps": _timestamps,
    "label": _label,
    "snippet": _snippet,
    "smooth": _smooth,
}
"""What does each kind of task."""
