"""Tables put together: those of one video by its members, and those of one recording by view."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raypose.errors import UsageError
from raypose.inputs.models import shortest_names
from raypose.inputs.sessions import Grouping, Recording, group_by_view, views_of_folders
from raypose.inputs.tables import FoundTable
from raypose.planning.model import Problem
from raypose.storage import AnyPath

_AS_MEMBERS = (
    " If these are tables of one video by several models, add --members: it puts together what "
    "is given, whatever the names."
)
_SEPARATORS = "_-. "

_Id = tuple[Path, str]
"""A member: whose table it is, and what its name says beside the video's."""

_Videos = dict[str, dict[_Id, Path]]
"""Key of a video → the table of each member."""


@dataclass(frozen=True, slots=True)
class TableRecording:
    """The tables of one recording.

    Attributes:
        name: unique among the sessions.
        views: names of the views; one empty name where there is a single video.
        keys: for each view the video's key, by which its outputs are called.
        tables: for each view the table of each member, in their order.
    """

    name: str
    views: tuple[str, ...]
    keys: tuple[str, ...]
    members: tuple[str, ...]
    tables: tuple[tuple[Path, ...], ...]


def group_tables(
    found: Sequence[FoundTable],
    *,
    views: Sequence[str] = (),
    listed: Grouping | None = None,
    min_members: int | None = None,
) -> tuple[list[TableRecording], list[Problem]]:
    """Groups tables by recording; what can't be grouped is a problem, and the others go on.

    Tables of one video are members of one ensemble: they lie in different directories, or their
    names say what made them. A video whose members are fewer than another's has a problem, unless
    `min_members` are enough.

    Args:
        views: names of the views of a recording; none where each video is one by itself.
        listed: the user's list of recordings, by their videos or tables.
        min_members: members that are enough; None for all of them.

    Raises:
        UsageError: there is a single member, or `views` can't be told apart.
    """
    if listed is not None:
        views = listed.views
    videos, problems = _videos(found, views)
    names = _member_names([member for tables in videos.values() for member in tables])
    usual = max(map(len, videos.values()))
    if usual < 2:
        raise UsageError(
            f"there is one table of each video ({next(iter(videos))}, …), and EKS smooths two or "
            "more members",
            hint="Give the directories of several models, or tables of several scorers."
            + (_AS_MEMBERS if len(videos) > 1 else ""),
        )
    keys: dict[AnyPath, str] = {_path(key): key for key in videos}
    if listed is not None:
        grouping = _as_listed(listed, videos)
    elif views:
        grouping = group_by_view(list(map(_path, videos)), views)
    else:
        grouping = Grouping((), tuple(Recording(k, (("", _path(k)),)) for k in videos))
    hint = "Rename it, or list the recordings in a CSV (--sessions)."
    for path, reason in grouping.unmatched:
        first, *others = videos[keys[path]].values()
        also = f" (nor do those of {len(others)} other members)" if others else ""
        message = f"belongs to no recording{also}: it {reason}"
        how = hint if listed is None else "Add it to the list."
        problems.append(Problem(str(first), message, how, fatal=True))
    sessions = []
    for recording in grouping.recordings:
        if recording.missing:
            message = f"there is no table of its view {', '.join(recording.missing)}"
            problems.append(Problem(recording.name, message, "EKS leaves it out.", fatal=True))
            continue
        parts = [(view, keys[path]) for view, path in recording.files]
        session = _session(recording.name, parts, videos, names, problems)
        if session is not None and _has_enough(session, usual, min_members, problems):
            sessions.append(session)
    return sessions, problems


def one_recording(found: Sequence[FoundTable]) -> list[TableRecording]:
    """All tables as members of one recording, a single video, whatever their names.

    It is called by what all names have in common at their beginning, or else at their end; or
    by the folder of the tables.

    Raises:
        UsageError: there is a single table.
    """
    if len(found) < 2:
        raise UsageError(
            "--members needs two or more tables of one video",
            path=found[0].path,
            hint="Give the table of each model.",
        )
    paths = [table.path for table in found]
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        names = stems
    else:
        names = shortest_names([path.with_suffix("") for path in paths])
    keys = {table.key for table in found}
    name = keys.pop() if len(keys) == 1 else _common_name(stems) or paths[0].parent.name
    tables = (tuple(paths),)
    return [TableRecording(name or "smoothed", ("",), (name or "smoothed",), tuple(names), tables)]


def _common_name(stems: Sequence[str]) -> str:
    """The parts that all names begin with, or else those that they end with."""
    parts = [re.split(f"([{re.escape(_SEPARATORS)}])", stem) for stem in stems]
    for step in (1, -1):
        same = itertools.takewhile(
            lambda column: len(set(column)) == 1, zip(*(p[::step] for p in parts), strict=False)
        )
        name = "".join([column[0] for column in same][::step]).strip(_SEPARATORS)
        if name:
            return name
    return ""


def _videos(found: Sequence[FoundTable], views: Sequence[str]) -> tuple[_Videos, list[Problem]]:
    """The videos by key, in order. A folder called like a view tells videos apart, not members."""
    videos: _Videos = {}
    problems = []
    common = Path(os.path.commonpath([table.folder for table in found]))
    for table in found:
        parts = table.folder.relative_to(common).parts
        of_views = [part for part in parts if views_of_folders((part,), views)]
        owner = common.joinpath(*(part for part in parts if part not in of_views))
        key = "/".join((*of_views, table.key))
        taken = videos.setdefault(key, {}).setdefault((owner, table.label), table.path)
        if taken != table.path:
            message = f"is a second table of {key} in {owner}: {taken} is taken"
            problems.append(Problem(str(table.path), message))
    return videos, problems


def _member_names(members: Iterable[_Id]) -> dict[_Id, str]:
    """Short names of the members: of their directories, of what made them, or of both."""
    ids = list(dict.fromkeys(members))
    folders = list(dict.fromkeys(folder for folder, _ in ids))
    short = dict(zip(folders, shortest_names(folders), strict=True))
    labels = Counter(folder for folder, _ in ids)
    names: dict[_Id, str] = {}
    for folder, label in ids:
        made_by = label.strip("._- ")
        if labels[folder] == 1 or not made_by:
            name = short[folder]
        else:
            name = made_by if len(folders) == 1 else f"{short[folder]}_{made_by}"
        free = itertools.chain((name,), (f"{name}_{n}" for n in itertools.count(2)))
        names[folder, label] = next(n for n in free if n not in names.values())
    return names


def _session(
    name: str,
    parts: Sequence[tuple[str, str]],
    videos: _Videos,
    names: dict[_Id, str],
    problems: list[Problem],
) -> TableRecording | None:
    """A recording whose views have the same members, or as many of others.

    `parts` are its views with the keys of their videos.
    """
    ids = [list(videos[key]) for _, key in parts]
    if all(set(of_view) == set(ids[0]) for of_view in ids):
        ids = [ids[0]] * len(ids)
    elif len({len(of_view) for of_view in ids}) > 1:
        counts = ", ".join(f"{view} has {len(videos[key])}" for view, key in parts)
        problems.append(
            Problem(name, f"its views differ in members: {counts}", "EKS leaves it out.", True)
        )
        return None
    # Models that are trained for one view each: any of them may go together.
    together = zip(*ids, strict=True)
    members = tuple(" + ".join(dict.fromkeys(names[m] for m in each)) for each in together)
    return TableRecording(
        name,
        tuple(view for view, _ in parts),
        tuple(key for _, key in parts),
        members,
        tuple(
            tuple(videos[key][member] for member in of_view)
            for (_, key), of_view in zip(parts, ids, strict=True)
        ),
    )


def _has_enough(
    session: TableRecording, usual: int, min_members: int | None, problems: list[Problem]
) -> bool:
    n = len(session.members)
    if n == usual:
        return True
    message = f"has {n} of {usual} members: {', '.join(session.members)}"
    enough = min_members is not None and n >= max(2, min_members)
    hint = "EKS goes on with these." if enough else "Add the tables of the others"
    if not enough:
        fewer = ", or let fewer do with --min-members." if min_members is None else "."
        hint += fewer if n >= 2 else "."
    problems.append(Problem(session.name, message, hint, fatal=not enough))
    return enough


def _path(key: str) -> Path:
    """A path that stands for the video in a `Grouping`."""
    return Path("/", f"{key}.csv")


def _as_listed(listed: Grouping, videos: _Videos) -> Grouping:
    """The user's list of videos or tables in terms of the videos that there are tables of."""
    of_table = {table: key for key, tables in videos.items() for table in tables.values()}
    left = dict.fromkeys(videos)
    recordings = []
    for recording in listed.recordings:
        files = {}
        for view, path in recording.files:
            # `day1/cam.mp4` is the video `day1/cam`, or else `cam`.
            parts = path.with_suffix("").parts
            tails = ["/".join(parts[i:]) for i in range(1, len(parts))]
            key = next((k for k in (of_table.get(Path(str(path))), *tails) if k in left), None)
            if key is not None:
                del left[key]
                files[view] = _path(key)
        recordings.append(Recording.of(recording.name, files, listed.views))
    unmatched = tuple((_path(key), "is not in the list") for key in left)
    return Grouping(listed.views, tuple(recordings), unmatched)
