"""Sessions of the plan as graphs of tasks.

```
predict (GPU, one or more ranges) ─ table ┬ metrics
                                          ├ timestamps
                                          ├ label
                                          ├ snippet
                                          └ smooth (all members' tables ─ metrics, label, snippet
                                                    of all views)
```

A step whose outputs are done has no task; where later steps still need its table, a `load`
stands in for it. Ids are deterministic, so a plan made again names the same work the same way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from raypose.config import RunConfig
from raypose.planning import OwnerWork, SessionPlan, Step, Unit, VideoPlan
from raypose.planning.partition import Share, arrange
from raypose.steps.ranges import range_folder
from raypose.storage import as_path
from raypose.storage.layout import OutputPaths, output_paths
from raypose.tasks import (
    LabelArgs,
    LoadArgs,
    MetricsArgs,
    PredictArgs,
    SmoothArgs,
    SnippetArgs,
    TableArgs,
    Task,
    TaskArgs,
    TimestampsArgs,
)


def arranged_tasks(
    sessions: Sequence[SessionPlan], n_gpus: int, config: RunConfig
) -> list[tuple[Task, ...]]:
    """The tasks of each session, on so many GPUs, each after those it depends on."""
    units = [(session, session.units) for session in sessions]
    work = [session.work(unit) for session, of_session in units for unit in of_session]
    shares = iter(arrange(work, n_gpus, config.chunk_frames))
    return [
        _session_tasks(session, [(unit, next(shares)) for unit in of_session], config)
        for session, of_session in units
    ]


def _session_tasks(
    session: SessionPlan, shares: Sequence[tuple[Unit, Sequence[Share]]], config: RunConfig
) -> tuple[Task, ...]:
    """The tasks of one session, of whose units the GPU tasks are given."""
    tasks: list[Task] = []
    outputs: dict[tuple[int, int], list[tuple[int, int, str]]] = defaultdict(list)
    for unit, shares_of_unit in shares:
        for share in shares_of_unit:
            task = _predict_task(session, unit, share, config)
            tasks.append(task)
            made = iter(task.outputs)
            for model in share.models:
                for video in unit.videos:
                    outputs[video, model].append((share.start, share.stop, next(made)))

    # What an ensemble still needs decides whether a member's committed table is read.
    to_smooth = session.to_smooth
    for v, plan in enumerate(session.videos):
        for i, work in enumerate(plan.models):
            if not work.table.done:
                done = session.ranges(v, i)
                tasks.append(_table_task(session, plan, work, outputs[v, i], done, config.strict))
            elif to_smooth or work.missing:
                tasks.append(_load_task(session, plan, work))
            tasks += _step_tasks(session, plan, work, config)
    if to_smooth:
        tasks.append(_smooth_task(session, config))
    for plan in session.videos:
        if plan.eks is not None and plan.eks.missing:
            if not to_smooth:
                tasks.append(_load_task(session, plan, plan.eks))
            tasks += _step_tasks(session, plan, plan.eks, config)
    return tuple(tasks)


def _table_id(plan: VideoPlan, work: OwnerWork) -> str:
    return f"table/{plan.video.key}/{work.owner.name}"


def _paths(work: OwnerWork, plan: VideoPlan, config: RunConfig) -> OutputPaths:
    return output_paths(as_path(work.owner.root), plan.video.key, config.layout)


def _predict_task(session: SessionPlan, unit: Unit, share: Share, config: RunConfig) -> Task:
    plans = [session.videos[v] for v in unit.videos]
    video = plans[0].video
    names = [plans[0].models[i].owner.name for i in share.models]
    # A model's videos are together, as in `PredictArgs`.
    pairs = [(plan, plan.models[i]) for i in share.models for plan in plans]
    whole = (share.start, share.stop) == (0, video.n_frames)
    folders = tuple(
        ""
        if work.table.done
        else str(
            range_folder(output_paths(as_path(work.owner.root), plan.video.key, config.layout))
        )
        for plan, work in pairs
    )
    where = video.key
    if len(plans) > 1:
        where = f"{session.key}[{','.join(plan.video.view for plan in plans)}]"
    part = "" if whole else f"/{share.start}-{share.stop}"
    task_id = f"predict/{where}/{'+'.join(names)}{part}"
    args = PredictArgs(
        videos=tuple(plan.video for plan in plans),
        models=tuple(plans[0].models[i].owner.model for i in share.models),
        start=share.start,
        stop=share.stop,
        recipes=tuple(work.table.recipe for _, work in pairs),
        range_dirs=() if whole else folders,
        boxes=tuple(plan.boxes for plan in plans),
        precision=config.precision,
        decoder=config.decoder,
        batch_size=config.batch_size,
        strict=config.strict,
    )
    frames = "" if whole else f" [{share.start}–{share.stop})"
    return Task(
        id=task_id,
        kind="predict",
        session=session.key,
        subject=f"{' + '.join(names)} · {where}{frames}",
        args=args,
        outputs=tuple(f"{task_id}#{work.owner.name}#{plan.video.key}" for plan, work in pairs),
        n_frames=share.stop - share.start,
        gpu=True,
    )


def _table_task(
    session: SessionPlan,
    plan: VideoPlan,
    work: OwnerWork,
    outputs: Sequence[tuple[int, int, str]],
    done: Sequence[tuple[int, int, str]],
    strict: bool,
) -> Task:
    predicted = [(start, stop, "", output) for start, stop, output in outputs]
    kept = [
        (start, stop, path, "")
        for start, stop, path in done
        if not any(start < b and a < stop for a, b, _ in outputs)
    ]
    ranges = sorted(predicted + kept)
    return _task(
        session,
        plan,
        work,
        "table",
        TableArgs(
            video=plan.video,
            owner=work.owner,
            output=work.table.outputs["table"],
            recipe=work.table.recipe,
            ranges=tuple((start, stop, path) for start, stop, path, _ in ranges),
            strict=strict,
        ),
        inputs=tuple(output for *_, output in ranges if output),
        output=_table_id(plan, work),
    )


def _load_task(session: SessionPlan, plan: VideoPlan, work: OwnerWork) -> Task:
    path, digest = work.table.outputs["table"], work.table.digest
    args = LoadArgs(plan.video, path, digest=digest, recorded=True)
    # It stands in for the table: those who need it find it under the same name.
    return _task(session, plan, work, "load", args, (), output=_table_id(plan, work))


def _smooth_task(session: SessionPlan, config: RunConfig) -> Task:
    first = session.videos[0]
    works = [(plan, plan.eks) for plan in session.videos if plan.eks is not None]
    owner, table = works[0][1].owner, works[0][1].table
    args = SmoothArgs(
        videos=tuple(plan.video for plan, _ in works),
        root=owner.root,
        members=tuple(member.owner.name for member in first.models),
        outputs=tuple(work.table.outputs["table"] for _, work in works),
        params_output=table.outputs["params"],
        points_output=table.outputs.get("points", ""),
        recipes=tuple(work.table.recipe for _, work in works),
        options=config.eks_options,
        mirrored=session.mirrored,
        calibration=session.calibration,
    )
    return Task(
        id=f"smooth/{session.key}/{owner.name}",
        kind="smooth",
        session=session.key,
        subject=f"{owner.name} · {session.key}",
        args=args,
        inputs=tuple(_table_id(plan, m) for plan in session.videos for m in plan.models),
        outputs=tuple(_table_id(plan, work) for plan, work in works),
        n_frames=first.video.n_frames,
    )


def _step_tasks(
    session: SessionPlan, plan: VideoPlan, work: OwnerWork, config: RunConfig
) -> list[Task]:
    table = (_table_id(plan, work),)
    return [
        _task(
            session,
            plan,
            work,
            step.kind,
            _step_args(plan, work, step, config),
            table,
        )
        for step in work.missing
        if step.kind != "table"
    ]


def _step_args(plan: VideoPlan, work: OwnerWork, step: Step, config: RunConfig) -> TaskArgs:
    video, owner = plan.video, work.owner
    data_dir = "" if config.data_dir is None else str(config.data_dir)
    if step.kind == "metrics":
        return MetricsArgs(video, owner, step.outputs, step.recipe, data_dir)
    if step.kind == "label":
        return LabelArgs(video, owner, step.outputs["labeled"], step.recipe, config.encoder)
    if step.kind == "timestamps":
        return TimestampsArgs(video, owner, work.table.outputs["table"], work.table.recipe)
    files = ("clip", "table", "labeled")
    return SnippetArgs(
        video=video,
        owner=owner,
        clip=step.outputs["clip"],
        table=step.outputs["table"],
        labeled=step.outputs["labeled"],
        metrics={name: path for name, path in step.outputs.items() if name not in files},
        recipe=step.recipe,
        duration_s=config.snippet_s,
        data_dir=data_dir,
        encoder=config.encoder,
    )


def _task(
    session: SessionPlan,
    plan: VideoPlan,
    work: OwnerWork,
    kind: str,
    args: TaskArgs,
    inputs: tuple[str, ...],
    output: str = "",
) -> Task:
    task_id = f"{kind}/{plan.video.key}/{work.owner.name}"
    return Task(
        id=task_id,
        kind=kind,
        session=session.key,
        subject=f"{work.owner.name} · {plan.video.key}",
        args=args,
        inputs=inputs,
        outputs=(output or task_id,),
        n_frames=plan.video.n_frames,
    )
