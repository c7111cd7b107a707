"""One session of the plan as a graph of tasks.

```
predict (GPU, one or more ranges) ─ table ┬ metrics
                                          ├ label
                                          ├ snippet
                                          └ smooth (all members' tables) ┬ metrics, label, snippet
```

A step whose outputs are done has no task; where later steps still need its table, a `load`
stands in for it. Ids are deterministic, so a plan made again names the same work the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from raypose.arrange import Share
from raypose.config import RunConfig
from raypose.layout import output_paths
from raypose.planning import OwnerWork, SessionPlan, Step
from raypose.ranges import range_folder
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

NO_TABLE = ("timestamps",)
"""Steps that are made from the video alone."""


def session_tasks(
    session: SessionPlan, shares: Sequence[Share], config: RunConfig
) -> tuple[Task, ...]:
    """The tasks of one session, each after those it depends on.

    Args:
        session: the session's plan.
        shares: its GPU tasks, from `arrange`.
        config: what was asked for.
    """
    tasks: list[Task] = []
    outputs: dict[str, list[tuple[int, int, str]]] = {w.owner.name: [] for w in session.models}
    for share in shares:
        task = _predict_task(session, share, config)
        tasks.append(task)
        for index, output in zip(share.models, task.outputs, strict=True):
            name = session.models[index].owner.name
            outputs[name].append((share.start, share.stop, output))

    # What an ensemble still needs decides whether a member's committed table is read.
    eks_needs_tables = session.eks is not None and not session.eks.table.done
    for i, work in enumerate(session.models):
        if not work.table.done:
            done = session.done_ranges[i] if session.done_ranges else ()
            tasks.append(_table_task(session, work, outputs[work.owner.name], done))
        elif eks_needs_tables or any(step.kind not in NO_TABLE for step in work.missing):
            tasks.append(_load_task(session, work))
        tasks += _step_tasks(session, work, config)
    if session.eks is not None and session.eks.missing:
        if session.eks.table.done:
            tasks.append(_load_task(session, session.eks))
        else:
            tasks.append(_smooth_task(session, session.eks, config))
        tasks += _step_tasks(session, session.eks, config)
    return tuple(tasks)


def _subject(work: OwnerWork, session: SessionPlan) -> str:
    return f"{work.owner.name} · {session.video.key}"


def _table_id(work: OwnerWork, session: SessionPlan) -> str:
    return f"table/{session.video.key}/{work.owner.name}"


def _predict_task(session: SessionPlan, share: Share, config: RunConfig) -> Task:
    video = session.video
    works = [session.models[i] for i in share.models]
    names = [work.owner.name for work in works]
    whole = (share.start, share.stop) == (0, video.n_frames)
    folders = tuple(
        str(range_folder(output_paths(Path(work.owner.root), video.key, config.layout)))
        for work in works
    )
    part = "" if whole else f"/{share.start}-{share.stop}"
    task_id = f"predict/{video.key}/{'+'.join(names)}{part}"
    args = PredictArgs(
        video=video,
        models=tuple(work.owner.model for work in works),
        start=share.start,
        stop=share.stop,
        recipes=tuple(work.table.recipe for work in works),
        range_dirs=() if whole else folders,
        precision=config.precision,
        batch_size=config.batch_size,
        strict=config.strict,
    )
    frames = "" if whole else f" [{share.start}–{share.stop})"
    return Task(
        id=task_id,
        kind="predict",
        session=video.key,
        subject=f"{' + '.join(names)} · {video.key}{frames}",
        args=args,
        outputs=tuple(f"{task_id}#{name}" for name in names),
        n_frames=share.stop - share.start,
        gpu=True,
    )


def _table_task(
    session: SessionPlan,
    work: OwnerWork,
    outputs: Sequence[tuple[int, int, str]],
    done: Sequence[tuple[int, int, str]],
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
        work,
        "table",
        TableArgs(
            video=session.video,
            owner=work.owner,
            output=work.table.outputs["table"],
            recipe=work.table.recipe,
            ranges=tuple((start, stop, path) for start, stop, path, _ in ranges),
        ),
        inputs=tuple(output for *_, output in ranges if output),
    )


def _load_task(session: SessionPlan, work: OwnerWork) -> Task:
    args = LoadArgs(session.video, work.owner, work.table.outputs["table"])
    # It stands in for the table: those who need it find it under the same name.
    return _task(session, work, "load", args, (), output=_table_id(work, session))


def _smooth_task(session: SessionPlan, work: OwnerWork, config: RunConfig) -> Task:
    args = SmoothArgs(
        video=session.video,
        owner=work.owner,
        members=tuple(member.owner.name for member in session.models),
        output=work.table.outputs["table"],
        params_output=work.table.outputs["params"],
        recipe=work.table.recipe,
        options=config.eks_options.model_dump(),
    )
    members = tuple(_table_id(member, session) for member in session.models)
    return _task(session, work, "smooth", args, members, output=_table_id(work, session))


def _step_tasks(session: SessionPlan, work: OwnerWork, config: RunConfig) -> list[Task]:
    table = (_table_id(work, session),)
    return [
        _task(
            session,
            work,
            step.kind,
            _step_args(session, work, step, config),
            () if step.kind in NO_TABLE else table,
        )
        for step in work.missing
        if step.kind != "table"
    ]


def _step_args(session: SessionPlan, work: OwnerWork, step: Step, config: RunConfig) -> TaskArgs:
    video, owner = session.video, work.owner
    data_dir = "" if config.data_dir is None else str(config.data_dir)
    if step.kind == "metrics":
        return MetricsArgs(video, owner, step.outputs, step.recipe, data_dir)
    if step.kind == "label":
        return LabelArgs(video, owner, step.outputs["labeled"], step.recipe)
    if step.kind == "timestamps":
        return TimestampsArgs(video, owner, step.outputs["timestamps"], step.recipe)
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
    )


def _task(
    session: SessionPlan,
    work: OwnerWork,
    kind: str,
    args: TaskArgs,
    inputs: tuple[str, ...],
    output: str = "",
) -> Task:
    task_id = f"{kind}/{session.video.key}/{work.owner.name}"
    return Task(
        id=task_id,
        kind=kind,
        session=session.video.key,
        subject=_subject(work, session),
        args=args,
        inputs=inputs,
        outputs=(output or task_id,),
        n_frames=session.video.n_frames,
    )
