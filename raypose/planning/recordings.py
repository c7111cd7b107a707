"""From what the user named to recordings: videos found, put together by view, and looked into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raypose.config import RunConfig
from raypose.errors import UsageError
from raypose.inputs.sessions import Grouping, group_by_view, read_session_list
from raypose.inputs.videos import FoundVideo, Inspected, find_videos, inspect_videos, name_videos
from raypose.planning.model import Problem
from raypose.storage import AnyPath
from raypose.tasks import ModelSpec


@dataclass(frozen=True, slots=True)
class Group:
    """The usable videos of one recording.

    Attributes:
        key: the recording's name.
        views: the camera of each video; an empty name where there is only one.
        videos: the looks into them.
        complete: whether all views are there, of equal length: else each video is on its own.
    """

    key: str
    views: tuple[str, ...]
    videos: tuple[Inspected, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Recordings:
    """All recordings of a run, with what is wrong with them."""

    groups: tuple[Group, ...]
    videos: tuple[Inspected, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """The files of a recording, before anybody looked into them."""

    name: str
    files: tuple[tuple[str, AnyPath], ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Files:
    """The videos that the arguments stand for, and how a list of sessions puts them together."""

    found: tuple[FoundVideo, ...]
    listed: Grouping | None = None


def find_files(config: RunConfig) -> Files:
    """The videos of a run; none of them is looked into.

    Raises:
        UsageError: an argument stands for nothing, or the list of sessions can't be read.
    """
    if config.sessions is None:
        return Files(tuple(find_videos(config.videos, recursive=config.recursive)))
    listed = read_session_list(config.sessions)
    paths = [path for recording in listed.recordings for _, path in recording.files]
    return Files(tuple(FoundVideo(path, path.parent) for path in paths), listed)


def find_recordings(files: Files, config: RunConfig, models: Sequence[ModelSpec]) -> Recordings:
    """Put the videos of one recording together, and look into those of this shard.

    Raises:
        UsageError: the views of models differ from those of the recordings.
    """
    found, grouping = files.found, files.listed
    views = grouping.views if grouping is not None else _view_names(config, models)
    _check_views(views, models)
    if grouping is None and views:
        grouping = _grouped([video.path for video in found], views)
    keys = dict(zip((video.path for video in found), name_videos(found), strict=True))
    parts = _parts(grouping, found, keys)
    if config.shard is not None:
        index, count = config.shard
        parts = parts[index::count]
    paths = [path for part in parts for _, path in part.files]
    looks = inspect_videos([FoundVideo(p, p.parent) for p in paths], [keys[p] for p in paths])
    by_path = dict(zip(paths, looks, strict=True))
    together = config.eks or any(model.takes_views for model in models)
    mine = set(paths)
    problems = [
        Problem(
            str(path),
            f"belongs to no recording of several views: it {reason}",
            "Rename it, or list the recordings in a CSV (--sessions).",
            fatal=any(model.takes_views for model in models),
        )
        for path, reason in (grouping.strays if grouping else ())
        if path in mine
    ]
    problems += [
        Problem(str(video.path), video.error.message, video.error.hint, fatal=True)
        for video in looks
        if video.error is not None
    ]
    problems += [Problem(str(v.path), note) for v in looks if v.spec for note in v.notes]
    groups = []
    for part in parts:
        group, wrong = _group(part, by_path)
        if wrong:
            without = "models that take all views, and EKS, leave it out"
            hint = f"{without[0].upper()}{without[1:]}." if together else ""
            problems.append(Problem(part.name, wrong, hint, fatal=together))
        if group.videos:
            groups.append(group)
    return Recordings(tuple(groups), tuple(looks), tuple(problems))


def _grouped(paths: Sequence[AnyPath], views: Sequence[str]) -> Grouping:
    """Files put together by view; a URL's parts are compared like those of a path."""
    names: dict[str, AnyPath] = {}
    for path in paths:
        name = path if isinstance(path, Path) else Path("/", str(path).replace("://", "/"))
        names[str(name)] = path
    grouping = group_by_view([Path(name) for name in names], views)
    recordings = tuple(
        replace(r, files=tuple((view, names[str(path)]) for view, path in r.files))
        for r in grouping.recordings
    )
    strays = tuple((names[str(path)], reason) for path, reason in grouping.strays)
    return replace(grouping, recordings=recordings, strays=strays)


def _view_names(config: RunConfig, models: Sequence[ModelSpec]) -> tuple[str, ...]:
    named = [model.view_names for model in models if model.takes_views]
    views = config.views or (named[0] if named else ())
    if not views and config.calibration is not None:
        from raypose.inputs.calibration import camera_names

        views = camera_names(config.calibration)
    return views


def _check_views(views: Sequence[str], models: Sequence[ModelSpec]) -> None:
    for model in models:
        if model.takes_views and set(model.view_names) != set(views):
            raise UsageError(
                f"this model takes the views {', '.join(model.view_names)}, and the recordings "
                f"have {', '.join(views)}",
                path=model.directory,
                hint="Give all models the same views, by the names of its config.",
            )


def _parts(
    grouping: Grouping | None, found: Sequence[FoundVideo], keys: dict[AnyPath, str]
) -> list[_Part]:
    """Recordings, and videos that are one by themselves, in the order of their first files."""
    order = {video.path: i for i, video in enumerate(found)}
    if grouping is None:
        return [_Part(keys[video.path], (("", video.path),)) for video in found]
    parts = [_Part(r.name, r.files, r.missing) for r in grouping.recordings if r.files]
    parts += [_Part(keys[path], (("", path),)) for path, _ in grouping.strays]
    return sorted(parts, key=lambda part: min(order[path] for _, path in part.files))


def _group(part: _Part, looks: dict[AnyPath, Inspected]) -> tuple[Group, str]:
    """A recording's usable videos, and what keeps them from being one recording."""
    usable = [(view, looks[path]) for view, path in part.files if looks[path].spec is not None]
    views = tuple(view for view, _ in usable)
    videos = tuple(look for _, look in usable)
    lengths = {view: look.spec.n_frames for view, look in usable if look.spec is not None}
    wrong = ""
    if part.missing:
        wrong = f"lacks the view {', '.join(part.missing)}"
    elif len(usable) < len(part.files) and len(part.files) > 1:
        broken = [view for view, path in part.files if looks[path].spec is None]
        wrong = f"its view {', '.join(broken)} can't be used"
    elif len(set(lengths.values())) > 1:
        counts = ", ".join(f"{view} has {n}" for view, n in lengths.items())
        wrong = f"its views differ in frames: {counts}"
    return Group(part.name, views, videos, complete=not wrong), wrong
