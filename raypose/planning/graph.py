"""The tasks of a plan, with their dependencies; docs/design.md draws them.

A step whose outputs are finished has no task; where later steps need its table, a `load` takes
its place. Ids are deterministic, so that the next plan names the same work the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from raypose.config import RunConfig
from raypose.planning.model import OutputPlan, Plan, RecordingPlan
from raypose.planning.partition import Shard, partition
from raypose.steps import Load, Predict, Smooth, Step, Table, Task
from raypose.steps.base import OutputStep
from raypose.steps.ranges import range_folder
from raypose.storage import as_path
from raypose.storage.digests import known_content

_Range = tuple[int, int, str]
_Prediction = tuple[Task, Sequence[OutputPlan]]
"""A task that predicts, and whose tables its results are parts of, in their order."""


def plan_tasks(plan: Plan, n_gpus: int) -> list[tuple[Task, ...]]:
    """The tasks of each pending recording, each after those it depends on."""
    config = plan.config
    if not isinstance(config, RunConfig):
        return [_recording_tasks(recording, []) for recording in plan.pending]
    demands = [(recording, recording.demands) for recording in plan.pending]
    all_demands = [demand for _, of_one in demands for demand in of_one]
    shards = iter(partition(all_demands, n_gpus, config.chunk_frames))
    return [
        _recording_tasks(
            recording,
            [
                _predict_task(recording, demand.videos, shard, config)
                for demand in of_one
                for shard in next(shards)
            ],
        )
        for recording, of_one in demands
    ]


def _recording_tasks(
    recording: RecordingPlan, predictions: Sequence[_Prediction]
) -> tuple[Task, ...]:
    tasks = [task for task, _ in predictions]
    predicted: dict[str, list[_Range]] = defaultdict(list)
    for task, outputs in predictions:
        assert isinstance(task.step, Predict)
        for name, output in zip(task.outputs, outputs, strict=True):
            predicted[_table_name(output)].append((task.step.start, task.step.stop, name))
    smooth = recording.smooth
    to_smooth = smooth is not None and not smooth.done
    for video in recording.videos:
        for member in video.members:
            if not member.table.done:
                tasks.append(_table_task(recording, member, predicted[_table_name(member)]))
            elif to_smooth or member.missing:
                tasks.append(_task(recording, member, member.load, ()))
            tasks += _more_tasks(recording, member)
    if smooth is not None and to_smooth:
        tasks.append(_smooth_task(recording, smooth.step))
    for video in recording.videos:
        if video.smoothed is not None and video.smoothed.missing:
            if not to_smooth:
                tasks.append(_task(recording, video.smoothed, video.smoothed.load, ()))
            tasks += _more_tasks(recording, video.smoothed)
    known = {
        video.path: recording.contents.get(video.path) or known_content(video.path, video.identity)
        for video in (plan.video for plan in recording.videos)
        if video.identity is not None
    }
    return (
        tuple(_with_contents(task, known) for task in tasks)
        if any(known.values())
        else tuple(tasks)
    )


def _with_contents(task: Task, known: Mapping[str, str]) -> Task:
    """A task whose videos have the digests that the plan or the cache knows, by their paths."""
    videos = tuple(replace(v, content=known.get(v.path, "")) for v in task.step.videos)
    return replace(task, step=replace(task.step, videos=videos))


def _table_name(output: OutputPlan) -> str:
    """Name of a table among the results of tasks, whichever task makes or reads it."""
    # A table of the user's may be called as the ensemble is.
    kind = "load" if isinstance(output.table.step, Load) else "table"
    return f"{kind}/{output.video.key}/{output.owner.name}"


def _predict_task(
    recording: RecordingPlan, videos: Sequence[int], shard: Shard, config: RunConfig
) -> _Prediction:
    plans = [recording.videos[v] for v in videos]
    video = plans[0].video
    # A member's videos are together, as in `Predict`.
    outputs = [plan.members[i] for i in shard.models for plan in plans]
    steps = [output.table.step for output in outputs]
    names = [plans[0].members[i].owner.name for i in shard.models]
    whole = (shard.start, shard.stop) == (0, video.n_frames)
    folders = tuple(
        "" if output.table.done else str(range_folder(as_path(output.path))) for output in outputs
    )
    where = video.key
    if len(plans) > 1:
        where = f"{recording.key}[{','.join(plan.video.view for plan in plans)}]"
    part = "" if whole else f"/{shard.start}-{shard.stop}"
    task_id = f"predict/{where}/{'+'.join(names)}{part}"
    step = Predict(
        videos=tuple(plan.video for plan in plans),
        members=tuple(s.model for s in steps[:: len(plans)] if isinstance(s, OutputStep)),
        start=shard.start,
        stop=shard.stop,
        provenances=tuple(s.provenance for s in steps if isinstance(s, OutputStep)),
        range_dirs=() if whole else folders,
        bboxes=tuple(plan.bbox for plan in plans),
        precision=config.precision,
        decoder=config.decoder,
        batch_size=config.batch_size,
        strict=config.strict,
    )
    frames = "" if whole else f" [{shard.start}–{shard.stop})"
    task = Task(
        id=task_id,
        step=step,
        recording=recording.key,
        subject=f"{' + '.join(names)} · {where}{frames}",
        outputs=tuple(f"{task_id}#{out.owner.name}#{out.video.key}" for out in outputs),
        n_frames=shard.stop - shard.start,
    )
    return task, outputs


def _table_task(recording: RecordingPlan, output: OutputPlan, predicted: Sequence[_Range]) -> Task:
    """The task that stitches what is predicted now and what an earlier run has finished."""
    arriving = [(start, stop, "", name) for start, stop, name in predicted]
    kept = [
        (start, stop, path, "")
        for start, stop, path in output.ranges
        if not any(start < b and a < stop for a, b, _ in predicted)
    ]
    ranges = sorted(arriving + kept)
    assert isinstance(output.table.step, Table)
    step = replace(
        output.table.step, ranges=tuple((start, stop, path) for start, stop, path, _ in ranges)
    )
    return _task(recording, output, step, tuple(name for *_, name in ranges if name))


def _more_tasks(recording: RecordingPlan, output: OutputPlan) -> list[Task]:
    table = (_table_name(output),)
    return [
        _task(recording, output, planned.step, table)
        for planned in output.more
        if not planned.done
    ]


def _task(
    recording: RecordingPlan, output: OutputPlan, step: Step, inputs: tuple[str, ...]
) -> Task:
    video, owner = output.video, output.owner
    task_id = f"{step.name}/{video.key}/{owner.name}"
    takes_a_table = any(step is planned.step for planned in output.more)
    return Task(
        id=task_id,
        step=step,
        recording=recording.key,
        subject=f"{owner.name} · {video.key}",
        inputs=inputs,
        outputs=(task_id if takes_a_table else _table_name(output),),
        n_frames=video.n_frames,
    )


def _smooth_task(recording: RecordingPlan, step: Step) -> Task:
    assert isinstance(step, Smooth)
    outputs = [video.smoothed for video in recording.videos if video.smoothed is not None]
    return Task(
        id=f"smooth/{recording.key}/{step.owner.name}",
        step=step,
        recording=recording.key,
        subject=f"{step.owner.name} · {recording.key}",
        inputs=tuple(_table_name(m) for video in recording.videos for m in video.members),
        outputs=tuple(map(_table_name, outputs)),
        n_frames=recording.videos[0].video.n_frames,
    )
