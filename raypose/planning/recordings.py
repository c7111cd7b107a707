"""From what the user named to recordings: videos found, put together by view, and looked into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raypose import storage
from raypose.config import RunConfig
from raypose.errors import NoVideoTrackError, UsageError
from raypose.inputs.names import GivenNames, name_recordings, name_videos
from raypose.inputs.sessions import Grouping, group_by_view, read_session_list
from raypose.inputs.videos import (
    NO_VIDEO,
    OWN,
    FoundVideo,
    FoundVideos,
    Inspected,
    LeftOut,
    find_videos,
    inspect_videos,
)
from raypose.planning.model import EKS, Problem
from raypose.specs import ModelSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.layout import owner_root, smooth_params_folder, tables_folder
from raypose.storage.records import RecordedFiles

_MOST_NAMED = 3


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

    found: FoundVideos
    listed: Grouping | None = None


def find_files(config: RunConfig) -> Files:
    """The videos of a run; none of them is looked into.

    Raises:
        UsageError: an argument stands for nothing, or the list of sessions can't be read.
    """
    if config.sessions is None:
        return Files(find_videos(config.videos, recursive=config.recursive))
    listed = read_session_list(config.sessions)
    paths = [path for recording in listed.recordings for _, path in recording.files]
    records = RecordedFiles()
    own = next((path for path in paths if path in records), None)
    if own is not None:
        raise UsageError(
            f"lists {own}, which raypose has made itself",
            path=config.sessions,
            hint="Name the video that it was made from; or copy it elsewhere, and name the copy.",
        )
    return Files(FoundVideos(tuple(FoundVideo(path, named=True) for path in paths)), listed)


def find_recordings(files: Files, config: RunConfig, models: Sequence[ModelSpec]) -> Recordings:
    """Put the videos of one recording together, and look into those of this shard.

    Raises:
        UsageError: the views of models differ from those of the recordings, or no file is a
            video.
    """
    found, grouping = files.found.videos, files.listed
    views = grouping.views if grouping is not None else _view_names(config, models)
    _check_views(views, models)
    if grouping is None and views:
        grouping = _grouped([video.path for video in found], views)
        if config.eks:
            grouping = _as_named_before(grouping, config)
    given = GivenNames(_table_folders(config, models), ".csv")
    keys = dict(zip((video.path for video in found), name_videos(found, given), strict=True))
    parts = _parts(grouping, found, keys)
    if config.shard is not None:
        index, count = config.shard
        parts = parts[index::count]
    paths = [path for part in parts for _, path in part.files]
    looks = inspect_videos([FoundVideo(p) for p in paths], [keys[p] for p in paths])
    looks, no_videos = _without_other_files(looks, files.found)
    by_path = {look.path: look for look in looks}
    parts = [part for part in (_among(part, by_path) for part in parts) if part.files]
    together = config.eks or any(model.takes_views for model in models)
    problems = _notes((*files.found.left_out, *no_videos))
    problems += [
        Problem(
            str(path),
            f"belongs to no recording of several views: it {reason}",
            "Rename it, or list the recordings in a CSV (--sessions).",
            fatal=any(model.takes_views for model in models),
        )
        for path, reason in (grouping.strays if grouping else ())
        if path in by_path
    ]
    errors = [(str(look.path), look.error) for look in looks if look.error is not None]
    if config.shard is None or config.shard[0] == 0:  # once, and not in each part of a job
        errors = [*((error.path, error) for error in files.found.broken), *errors]
    problems += [Problem(path, e.message, e.hint, fatal=True) for path, e in errors]
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


def _table_folders(config: RunConfig, models: Sequence[ModelSpec]) -> list[AnyPath]:
    """Where the predictions of all owners go."""
    roots = [owner_root(m.name, config.output_dir, as_path(m.directory)) for m in models]
    if config.eks:
        roots.append(_eks_root(config))
    return [tables_folder(root, config.layout) for root in roots]


def _eks_root(config: RunConfig) -> AnyPath:
    return config.eks_dir or owner_root(EKS, config.output_dir, None)


def _as_named_before(grouping: Grouping, config: RunConfig) -> Grouping:
    given = GivenNames([smooth_params_folder(_eks_root(config))], ".json")
    return replace(grouping, recordings=tuple(name_recordings(grouping.recordings, given)))


def _without_other_files(
    looks: Sequence[Inspected], found: FoundVideos
) -> tuple[list[Inspected], list[LeftOut]]:
    """The looks without files that a search came upon and that hold no video.

    Raises:
        UsageError: there is nothing else.
    """
    named = {video.path for video in found.videos if video.named}
    others = [
        LeftOut(look.path, NO_VIDEO)
        for look in looks
        if isinstance(look.error, NoVideoTrackError) and look.path not in named
    ]
    if others and len(others) == len(found.videos) and not found.broken:
        raise UsageError(f"no video there: {_listed(others)}")
    gone = {item.path for item in others}
    return [look for look in looks if look.path not in gone], others


def _among(part: _Part, looks: Mapping[AnyPath, Inspected]) -> _Part:
    """A part without the files that turned out to be no videos."""
    gone = tuple(view for view, path in part.files if path not in looks)
    files = tuple((view, path) for view, path in part.files if path in looks)
    return replace(part, files=files, missing=part.missing + gone)


def _notes(left_out: Sequence[LeftOut]) -> list[Problem]:
    """One note per reason on files that are no inputs."""
    groups: dict[str, list[LeftOut]] = {}
    for item in left_out:
        groups.setdefault(item.reason, []).append(item)
    hints = {OWN: "Copy one elsewhere to predict it all the same."}
    problems = []
    for reason, items in groups.items():
        folder = storage.common_folder([item.path for item in items])
        problems.append(Problem(folder, _listed(items), hints.get(reason, ""), lasting=True))
    return problems


def _listed(items: Sequence[LeftOut]) -> str:
    """How many files are left out for one reason, and the first of them."""
    names = ", ".join(item.path.name for item in items[:_MOST_NAMED])
    more = ", …" if len(items) > _MOST_NAMED else ""
    count = "1 file is" if len(items) == 1 else f"{len(items)} files are"
    return f"{count} left out: {items[0].reason} ({names}{more})"


def _grouped(paths: Sequence[AnyPath], views: Sequence[str]) -> Grouping:
    """Files put together by view; a URL's parts are compared like those of a path."""
    names = {str(Path("/", *storage.parts(path))): path for path in paths}
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
    if config.calibration is not None:
        from raypose.inputs.calibration import camera_names

        cameras = camera_names(config.calibration)  # which also says what is wrong with it
        views = views or cameras
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
