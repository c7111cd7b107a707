"""The plan of a smoothing: sessions of tables − what is done, and their tasks.

```
load (a table of each member and view) ─ smooth (EKS of the session)
```
The tasks are those that smooth the ensemble of a run; only where the tables come from differs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from raypose import storage
from raypose.config import SmoothConfig
from raypose.errors import UsageError
from raypose.inputs.calibration import camera_names
from raypose.inputs.sessions import Grouping, read_session_list
from raypose.inputs.tables import FoundTables, find_tables
from raypose.planning import METHOD, Problem
from raypose.planning.smoothing.sessions import TableSession, group_tables, one_recording
from raypose.specs import ModelSpec, VideoSpec
from raypose.steps.frame_files import frames_recipe, recorded_damage
from raypose.storage import AnyPath, records
from raypose.storage.digests import remembered_digest
from raypose.storage.layout import frames_beside, output_paths, points_path, smooth_params_path
from raypose.storage.recipes import Recipe
from raypose.tasks import LoadArgs, SmoothArgs, Task
from raypose.video.frames import describe

_WORKERS = 16
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class SmoothStep:
    """One session to smooth, and how it stands.

    Attributes:
        session: its tables.
        outputs: path of the smoothed table of each view.
        params: path of the smoothing parameters.
        points: path of the points in space; empty where there is no calibration.
        digests: of the session's tables, as they were when the plan was made.
        recipe: what all of these are made from.
        done: True where they are there, verified.
        frames: of each finished table the frames of each status, where any is not ok.
    """

    session: TableSession
    outputs: tuple[AnyPath, ...]
    params: AnyPath
    points: AnyPath | None
    digests: tuple[tuple[str, ...], ...]
    recipe: dict[str, Any]
    done: bool
    frames: tuple[Mapping[str, int], ...] = ()

    @property
    def paths(self) -> tuple[AnyPath, ...]:
        return (*self.outputs, self.params, *([self.points] if self.points else []))


@dataclass(frozen=True, slots=True)
class SmoothPlan:
    """What a smoothing would do.

    Attributes:
        config: what was asked for.
        sessions: one for each recording that can be smoothed.
        problems: what is wrong or odd.
        run_dir: where the ledger goes.
    """

    config: SmoothConfig
    sessions: tuple[SmoothStep, ...]
    problems: tuple[Problem, ...]
    run_dir: Path

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """None: nothing is predicted."""
        return ()

    @property
    def pending(self) -> tuple[SmoothStep, ...]:
        return tuple(step for step in self.sessions if not step.done)

    @property
    def done(self) -> bool:
        return not self.pending

    @property
    def n_videos(self) -> int:
        return sum(len(step.outputs) for step in self.sessions)

    @property
    def n_pending_videos(self) -> int:
        return sum(len(step.outputs) for step in self.pending)

    @property
    def output_folders(self) -> set[AnyPath]:
        paths = [path for step in self.sessions for path in step.paths]
        tables = [path for step in self.sessions for path in step.outputs]
        return {path.parent for path in (*paths, *map(frames_beside, tables))}

    @property
    def damaged(self) -> Mapping[str, Mapping[str, int]]:
        """Finished tables with frames that are not ok: path → number of each status."""
        return {
            str(tables[0]): frames
            for step in self.sessions
            for tables, frames in zip(step.session.tables, step.frames, strict=False)
            if frames
        }


def make_smooth_plan(config: SmoothConfig, *, run_dir: Path) -> SmoothPlan:
    """Find tables, put them together, and ask the ledger what is done.

    Raises:
        UsageError: an argument stands for nothing, or outputs would lie among the inputs.
    """
    found = find_tables(config.tables)
    problems = _left_out(found)
    more: list[Problem] = []
    if config.members:
        sessions = one_recording(found.tables)
    else:
        listed = None if config.sessions is None else read_session_list(config.sessions)
        sessions, more = group_tables(
            found.tables,
            views=_views(config, listed),
            listed=listed,
            min_members=config.eks_options.min_members,
        )
    if config.shard is not None:
        index, count = config.shard
        sessions = sessions[index::count]
    tables = list(dict.fromkeys(t for s in sessions for view in s.tables for t in view))
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="plan") as pool:
        digests = dict(zip(tables, pool.map(_digest, tables), strict=True))
        steps = list(pool.map(lambda session: _step(session, digests, config), sessions))
    _check_outputs(steps, tables, config.root)
    made = SmoothPlan(config, tuple(steps), (*problems, *more), run_dir)
    damage = [Problem(path, describe(frames)) for path, frames in made.damaged.items()]
    return replace(made, problems=(*made.problems, *damage))


def _left_out(found: FoundTables) -> list[Problem]:
    """What was not taken for a table, by folder where it is much."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path, reason in found.left_out:
        groups.setdefault((path.parent, reason), []).append(path)
    problems = []
    for (folder, reason), paths in groups.items():
        if len(paths) <= _MOST_NAMED:
            problems += [Problem(str(path), reason, "It is left out.") for path in paths]
        else:
            names = ", ".join(path.name for path in paths[:_MOST_NAMED])
            message = f"{len(paths)} files are left out, since each {reason}: {names}, …"
            problems.append(Problem(str(folder), message))
    return problems


def _views(config: SmoothConfig, listed: Grouping | None) -> tuple[str, ...]:
    """The views that tables are put together by; those of the calibration where nobody says."""
    views = config.views if listed is None else listed.views
    if config.calibration is None:
        return views
    cameras = camera_names(config.calibration)
    unknown = [view for view in views if view not in cameras]
    if unknown:
        raise UsageError(
            f"has no camera {', '.join(unknown)}; it has {', '.join(cameras)}",
            path=config.calibration,
            hint="Call the views as the calibration does.",
        )
    return views or cameras


def _digest(table: Path) -> str:
    try:
        return remembered_digest(table)
    except OSError:
        return "unreadable"  # what reads it will say why


def _step(session: TableSession, digests: dict[Path, str], config: SmoothConfig) -> SmoothStep:
    root = config.root
    outputs = tuple(output_paths(root, key, config.layout).predictions for key in session.keys)
    params = smooth_params_path(root, session.name)
    read = tuple(tuple(digests[table] for table in view) for view in session.tables)
    recipe: dict[str, Any] = {
        "kind": "smoothed",
        "method": METHOD,
        "views": list(session.views),
        "members": [list(view) for view in read],
        "options": config.eks_options.model_dump(mode="json"),
    }
    points = None
    if config.calibration is not None:
        recipe["calibration"] = remembered_digest(config.calibration)
        if len(session.views) > 1 and config.eks_options.takes_calibration:
            points = points_path(root, session.name)
    step = SmoothStep(session, outputs, params, points, read, recipe, done=False)
    if config.overwrite:
        return step
    frames = [_frames_of(path, recipe) for path in step.outputs]
    whole = all(records.check(path, recipe).done for path in step.paths)
    done = whole and None not in frames
    return replace(step, done=done, frames=tuple(f or {} for f in frames) if done else ())


def _frames_of(table: AnyPath, recipe: Recipe) -> Mapping[str, int] | None:
    """Frames of each status of a finished table, if any is not ok; None where it is not whole."""
    verdict = records.check(table, recipe)
    if not verdict.done:
        return None
    counts = recorded_damage(verdict.facts)
    if counts and not records.check(frames_beside(table), frames_recipe(recipe)).done:
        return None
    return counts


def _check_outputs(steps: Iterable[SmoothStep], tables: Iterable[Path], root: AnyPath) -> None:
    """Outputs must not replace a table that was given."""
    inputs = {os.path.realpath(table) for table in tables}
    for step in steps:
        for path in step.outputs:
            local = storage.local_path(path)
            if local is not None and os.path.realpath(local) in inputs:
                raise UsageError(
                    "holds a table that is to be smoothed, under the name that the smoothed one "
                    f"would have ({path})",
                    path=root,
                    hint="Choose another -o.",
                )


def smooth_tasks(step: SmoothStep, config: SmoothConfig) -> tuple[Task, ...]:
    """The tasks of one session, each after those it depends on."""
    session = step.session
    videos = tuple(
        _video(tables[0], key, view)
        for tables, key, view in zip(session.tables, session.keys, session.views, strict=True)
    )
    optional = config.eks_options.min_members is not None
    loads = [
        Task(
            id=f"load/{video.key}/{member}",
            kind="load",
            session=session.name,
            subject=f"{member} · {video.key}",
            args=LoadArgs(video, str(table), optional, digest),
            outputs=(f"load/{video.key}/{member}",),
        )
        for video, tables, digests in zip(videos, session.tables, step.digests, strict=True)
        for member, table, digest in zip(session.members, tables, digests, strict=True)
    ]
    smooth = Task(
        id=f"smooth/{session.name}",
        kind="smooth",
        session=session.name,
        subject=session.name,
        args=SmoothArgs(
            videos=videos,
            root=str(config.root),
            members=session.members,
            outputs=tuple(str(path) for path in step.outputs),
            params_output=str(step.params),
            points_output="" if step.points is None else str(step.points),
            recipes=(step.recipe,) * len(videos),
            options=config.eks_options.model_dump(),
            calibration="" if config.calibration is None else str(config.calibration),
            final=True,
        ),
        inputs=tuple(load.id for load in loads),
        outputs=tuple(f"smooth/{session.name}#{video.key}" for video in videos),
    )
    return (*loads, smooth)


def _video(table: Path, key: str, view: str) -> VideoSpec:
    """The video that tables are of; nothing but its name is known, and the first table's path."""
    return VideoSpec(
        path=str(table),
        key=key,
        n_frames=0,
        width=0,
        height=0,
        fps=0.0,
        duration_s=0.0,
        fingerprint="",
        view=view,
    )
