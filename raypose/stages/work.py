"""One way for every task: `execute` looks up its stage, runs it, and turns errors into values.

Each stage takes the task, the results that it depends on and the context of its process, and
returns its results with what is to be told of them. Both executors, in one process or on Ray,
come through here. Outputs are committed by the stages; see `raypose.ledger`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raypose import ledger
from raypose.errors import CancelledError, Failure, LabelsError, SmoothingError, VideoError
from raypose.layout import HIDDEN
from raypose.stages.context import Context
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
    if failed is not None:
        outcome = Outcome([failed.as_skipped(task.kind)] * len(task.outputs))
    else:
        try:
            outcome = STAGES[task.kind](task, inputs, context)
        except CancelledError:
            raise
        except Exception as error:  # every error of one task stays an error of that task
            outcome = Outcome([Failure.of(task.kind, error)] * len(task.outputs))
    summary = Summary(
        task=task.id,
        kind=task.kind,
        made=tuple(outcome.made),
        facts=outcome.facts,
        failures=tuple(value for value in outcome.results if isinstance(value, Failure)),
        warnings=tuple(outcome.warnings),
        seconds=time.perf_counter() - began,
        worker=context.worker,
    )
    return summary, outcome.results


@dataclass(frozen=True, slots=True)
class Predicted:
    """The keypoints of a range of frames, between `predict` and `table`.

    Attributes:
        values: shape (n_frames, n_keypoints, 3): x and y in pixels of the frame, likelihood.
        n_undecodable: frames that could not be decoded; NaN and likelihood 0.
    """

    values: Any
    n_undecodable: int


def _predict(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.ranges import write_range
    from raypose.stages.infer.loop import predict_video

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
    members = (
        predict_video(
            context.index(args.video.path),
            predictors,
            start=args.start,
            stop=args.stop,
            batch_size=args.batch_size,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
        if predictors
        else []
    )
    outcome = Outcome([])
    remaining = iter(members)
    for i in range(len(args.models)):
        member = broken[i] if i in broken else next(remaining)
        if isinstance(member, Failure):
            outcome.results.append(member)
            continue
        if args.strict and member.n_undecodable:
            raise VideoError(
                f"{member.n_undecodable} frames can't be decoded",
                path=args.video.path,
                hint="Leave out --strict to predict the others.",
            )
        outcome.facts = {
            "n_frames": len(member.values),
            "n_undecodable": member.n_undecodable,
            "n_loaded": context.n_loaded - n_loaded_before,
            **member.seconds,
        }
        if args.range_dirs:
            write_range(
                Path(args.range_dirs[i]),
                args.start,
                member.values,
                args.recipes[i],
                source=args.video.path,
                n_undecodable=member.n_undecodable,
            )
        outcome.results.append(Predicted(member.values, member.n_undecodable))
    return outcome


def _table(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import numpy as np

    from raypose.predictions import KeypointTable, write_csv
    from raypose.ranges import read_range, remove_ranges

    args = task.args
    assert isinstance(args, TableArgs)
    arriving = iter(inputs)
    parts, n_undecodable = [], 0
    for _, _, path in args.ranges:
        if path:
            values, n_bad = read_range(Path(path))
        else:
            predicted = next(arriving)
            values, n_bad = predicted.values, predicted.n_undecodable
        parts.append(values)
        n_undecodable += n_bad
    values = parts[0] if len(parts) == 1 else np.concatenate(parts)
    model = args.owner.model
    table = KeypointTable(model.scorer, model.keypoint_names, ("x", "y", "likelihood"), values)
    facts = {"n_rows": table.n_frames, "n_undecodable": n_undecodable}
    output = Path(args.output)
    with ledger.committing(output, args.recipe, source=args.video.path, facts=facts) as temporary:
        write_csv(table, temporary)
    remove_ranges(output.parent / HIDDEN / "ranges" / output.stem)
    warnings = []
    if n_undecodable:
        warnings.append(f"{n_undecodable} of {table.n_frames} frames could not be decoded")
    if table.n_frames != args.video.n_frames:
        warnings.append(
            f"the container lists {args.video.n_frames} frames, {table.n_frames} came out; "
            "the table has those"
        )
    return Outcome([table], [args.output], facts, warnings)


def _load(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.predictions import read_csv

    assert isinstance(task.args, LoadArgs)
    return Outcome([read_csv(task.args.output)])


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
            pca = context.pca(model, args.data_dir)
        except LabelsError as error:
            outcome.warnings.append(f"PCA metrics are left out: {error}")
    metrics = compute_metrics(table, model, pca)
    for name, output in outputs.items():
        if name not in metrics:
            continue
        with ledger.committing(Path(output), args.recipe, source=args.video.path) as temporary:
            write_metric_csv(temporary, model.keypoint_names, metrics[name])
        outcome.made.append(output)
    return outcome


def _label(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.stages.overlay import draw_labeled_video

    args = task.args
    assert isinstance(args, LabelArgs)
    (table,) = inputs
    model = args.owner.model
    with ledger.committing(Path(args.output), args.recipe, source=args.video.path) as temporary:
        stats = draw_labeled_video(
            context.index(args.video.path),
            table.xy,
            table.likelihood,
            temporary,
            threshold=model.confidence_threshold,
            colormap=model.colormap,
            on_progress=context.progress(task),
            should_stop=context.should_stop,
        )
    return Outcome([None], [args.output], {"n_frames": stats.n_frames})


def _timestamps(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    args = task.args
    assert isinstance(args, TimestampsArgs)
    times_s = context.index(args.video.path).times_s
    table = pa.table({"frame": pa.array(range(len(times_s))), "seconds": pa.array(times_s)})
    with ledger.committing(Path(args.output), args.recipe, source=args.video.path) as temporary:
        pacsv.write_csv(table, temporary)
    return Outcome([None], [args.output], {"n_rows": len(times_s)})


def _snippet(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    from raypose.predictions import write_csv
    from raypose.stages.overlay import draw_labeled_video
    from raypose.stages.snippet import choose_snippet, cut_snippet

    args = task.args
    assert isinstance(args, SnippetArgs)
    (table,) = inputs
    model, source = args.owner.model, args.video.path
    index = context.index(source)
    start, stop = choose_snippet(
        table.xy,
        table.likelihood,
        index.times_s,
        duration_s=args.duration_s,
        threshold=model.confidence_threshold,
    )
    facts = {"start": start, "stop": stop}

    def commit(output: str) -> Any:
        return ledger.committing(Path(output), args.recipe, source=source, facts=facts)

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
            start=start,
            stop=stop,
            should_stop=context.should_stop,
        )
    part = table.slice(start, stop)
    with commit(args.table) as temporary:
        write_csv(part, temporary)
    made = [args.clip, args.labeled, args.table]
    measured = _write_metrics(args, part, args.metrics, context)
    return Outcome([None], made + measured.made, facts, measured.warnings)


def _smooth(task: Task, inputs: Sequence[Any], context: Context) -> Outcome:
    import json

    from raypose.predictions import write_csv
    from raypose.stages.smooth import SmoothOptions, smooth_session

    args = task.args
    assert isinstance(args, SmoothArgs)
    lengths = {name: table.n_frames for name, table in zip(args.members, inputs, strict=True)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name}: {n}" for name, n in lengths.items())
        raise SmoothingError(
            f"the members' tables differ in length ({counts})",
            path=args.video.path,
            hint="Run again with --overwrite to predict them anew.",
        )
    result = smooth_session(
        list(inputs),
        SmoothOptions(**args.options),
        on_progress=context.progress(task),
        should_stop=context.should_stop,
    )
    facts = {"n_rows": result.table.n_frames, "mode": result.mode, "reason": result.reason}
    params = {
        "mode": result.mode,
        "members": list(args.members),
        "options": dict(args.options),
        "smooth_params": result.smooth_params,
    }
    source = args.video.path
    with ledger.committing(Path(args.params_output), args.recipe, source=source) as temporary:
        temporary.write_text(json.dumps(params, indent=1, ensure_ascii=False), encoding="utf-8")
    output = Path(args.output)
    with ledger.committing(output, args.recipe, source=source, facts=facts) as temporary:
        write_csv(result.table, temporary)
    return Outcome([result.table], [args.output, args.params_output], facts)


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
