"""The plan of a smoothing of existing tables.

It is a plan like that of a run; only the members' tables come from files instead of `predict`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from raypose.config import SmoothConfig
from raypose.eks.calibration import read_cameras
from raypose.errors import UsageError
from raypose.inputs.sessions import Grouping, read_session_list
from raypose.inputs.tables import FoundTables, find_tables
from raypose.planning.builder import smooth_step
from raypose.planning.model import (
    OutputPlan,
    Plan,
    Planned,
    Problem,
    RecordingPlan,
    VideoPlan,
)
from raypose.planning.status import planned
from raypose.planning.tables_by_recording import TableRecording, group_tables, one_recording
from raypose.specs import EKS, Owner, VideoSpec
from raypose.steps import Load
from raypose.storage import AnyPath
from raypose.storage.digests import remembered_digest
from raypose.storage.listing import Listing, NoListing
from raypose.video.frames import describe

_AT_ONCE = 16
_MOST_NAMED = 3


def plan_smoothing(config: SmoothConfig, *, run_dir: Path) -> Plan:
    """Find tables, put those of one recording together, and check what is finished.

    Raises:
        UsageError: an argument stands for nothing, or outputs would lie among the inputs.
    """
    found = find_tables(config.tables)
    problems = _left_out(found)
    more: list[Problem] = []
    if config.members:
        groups = one_recording(found.tables)
    else:
        listed = None if config.sessions is None else read_session_list(config.sessions)
        groups, more = group_tables(
            found.tables,
            views=_views(config, listed),
            listed=listed,
            min_members=config.eks_options.min_members,
        )
    if config.shard is not None:
        index, count = config.shard
        groups = groups[index::count]
    tables = list(dict.fromkeys(table for g in groups for view in g.tables for table in view))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="plan") as pool:
        digests = dict(zip(tables, pool.map(_digest, tables), strict=True))
        listing = Listing()
        recordings = list(pool.map(lambda g: _recording(g, digests, config, listing), groups))
    _check_outputs(recordings, tables, config.root)
    made = Plan(config, (), (), tuple(recordings), (*problems, *more), run_dir)
    damage = [Problem(path, describe(frames)) for path, frames in made.damaged.items()]
    return replace(made, problems=(*made.problems, *damage))


def _left_out(found: FoundTables) -> list[Problem]:
    """What was not taken for a table, by folder where it is much."""
    groups: dict[tuple[Path, str], list[Path]] = {}
    for path, reason in found.excluded:
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
    """The views by which tables are grouped; by default those of the calibration."""
    views = config.views if listed is None else listed.views
    if config.calibration is None:
        return views
    cameras = tuple(camera.name for camera in read_cameras(config.calibration))
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


def _recording(
    group: TableRecording, digests: Mapping[Path, str], config: SmoothConfig, listing: Listing
) -> RecordingPlan:
    # The first table stands for the video.
    videos = tuple(
        VideoSpec(str(tables[0]), key, view=view)
        for tables, key, view in zip(group.tables, group.keys, group.views, strict=True)
    )
    step = smooth_step(
        group.name,
        videos,
        Owner(EKS, str(config.root)),
        config,
        members=group.members,
        digests_of_members=[[digests[table] for table in view] for view in group.tables],
        views=group.views,
        calibration=config.calibration,
        final=True,
    )
    table = planned(step, overwrite=config.overwrite, listing=listing)
    optional = config.eks_options.min_members is not None

    def member(name: str, path: Path, video: VideoSpec) -> OutputPlan:
        load = Load(videos=(video,), path=str(path), optional=optional, digest=digests[path])
        return OutputPlan(Owner(name, ""), video, str(path), Planned(load, done=True))

    plans = tuple(
        VideoPlan(
            video,
            tuple(map(member, group.members, tables, [video] * len(tables))),
            OutputPlan(step.owner, video, path, table),
        )
        for video, tables, path in zip(videos, group.tables, step.tables, strict=True)
    )

    def look_again() -> tuple[RecordingPlan, list[Problem]]:
        finished_too = config.model_copy(update={"overwrite": False})
        return _recording(group, digests, finished_too, NoListing()), []

    return RecordingPlan(group.name, plans, look_again=look_again)


def _check_outputs(
    recordings: Iterable[RecordingPlan], tables: Iterable[Path], root: AnyPath
) -> None:
    """Outputs must not replace a table that was given."""
    inputs = {os.path.realpath(table) for table in tables}
    smoothed = [video.smoothed for recording in recordings for video in recording.videos]
    for output in smoothed:
        if output is not None and os.path.realpath(output.path) in inputs:
            raise UsageError(
                "holds a table that is to be smoothed, under the name that the smoothed one would "
                f"have ({output.path})",
                path=root,
                hint="Choose another -o.",
            )
