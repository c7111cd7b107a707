"""From the user's arguments to recordings: videos are found, grouped by view, and probed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from raypose import storage
from raypose.config import RunConfig
from raypose.errors import NoVideoTrackError, RayposeError, UsageError, VideoError
from raypose.inputs.names import GivenNames, name_recordings, name_videos
from raypose.inputs.probe import Unusable
from raypose.inputs.sessions import Grouping, Recording, group_by_view, read_session_list
from raypose.inputs.videos import (
    NO_VIDEO,
    OWN,
    Excluded,
    FoundVideo,
    FoundVideos,
    find_videos,
    probe_videos,
)
from raypose.planning.model import Problem
from raypose.specs import EKS, ModelSpec, VideoSpec
from raypose.storage import AnyPath, as_path
from raypose.storage.layout import owner_root, smooth_params_folder, tables_folder
from raypose.storage.listing import Listing
from raypose.storage.records import RecordedFiles

_MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Group:
    """The usable videos of one recording.

    Attributes:
        videos: one per view, or a single one whose view has an empty name.
        wrong: what keeps them from being one recording: a missing view, unequal lengths. Then
            each video is predicted on its own, and none of them has a view.
    """

    key: str
    videos: tuple[VideoSpec, ...]
    wrong: str = ""


def find_files(
    config: RunConfig, *, may_lack: bool = False
) -> tuple[FoundVideos, Grouping | None]:
    """The videos of a run, and how a list of sessions groups them; none is opened.

    `may_lack` as in `find_videos`.

    Raises:
        UsageError: an argument stands for nothing, or the list of sessions can't be read.
    """
    if config.sessions is None:
        return find_videos(config.videos, recursive=config.recursive, may_lack=may_lack), None
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
    return FoundVideos(tuple(FoundVideo(path, named=True) for path in paths)), listed


def find_recordings(
    files: FoundVideos,
    grouping: Grouping | None,
    config: RunConfig,
    models: Sequence[ModelSpec],
    only: Collection[str] | None = None,
    listing: Listing | None = None,
) -> tuple[list[Group], list[VideoSpec | Unusable], list[Problem]]:
    """Group the videos of each recording, and probe those of this shard, or `only` some.

    `listing` takes in what lies among the tables of earlier runs.

    Returns:
        The recordings with at least one usable video; every video that was found, usable or not,
        in order; errors and notes.

    Raises:
        UsageError: the views of models and recordings differ, or no file is a video.
    """
    found = files.videos
    views = grouping.views if grouping is not None else _view_names(config, models)
    _check_views(views, models)
    if grouping is None and views:
        grouping = _grouped([video.path for video in found], views)
        if config.eks:
            grouping = _as_named_before(grouping, config)
    # All together, so that a video has the same name whichever are probed.
    given = GivenNames(_table_folders(config, models), ".csv", listing)
    keys = dict(zip((video.path for video in found), name_videos(found, given), strict=True))
    parts = _parts(grouping, found, keys)
    if config.shard is not None:
        index, count = config.shard
        parts = parts[index::count]
    paths = [path for part in parts for _, path in part.files]
    if only is not None:
        paths = [path for path in paths if str(path) in only]
    given_as = {video.path: video for video in found}
    probed = probe_videos([given_as[path] for path in paths], [keys[path] for path in paths])
    probed, no_videos = _without_other_files(probed, files)
    by_path = {video.path: video for video in probed}
    parts = [part for part in (_among(part, by_path) for part in parts) if part.files]
    needs_all_views = config.eks or any(model.takes_views for model in models)
    problems = _notes((*files.excluded, *no_videos))
    problems += [
        Problem(
            str(path),
            f"belongs to no recording of several views: it {reason}",
            "Rename it, or list the recordings in a CSV (--sessions).",
            fatal=any(model.takes_views for model in models),
        )
        for path, reason in (grouping.unmatched if grouping else ())
        if str(path) in by_path
    ]
    first_shard = config.shard is None or config.shard[0] == 0
    problems += _video_problems(probed, files.broken if first_shard else ())
    groups = []
    for part in parts:
        group = _group(part, by_path)
        if group.wrong:
            hint = "Models that take all views, and EKS, leave it out." if needs_all_views else ""
            problems.append(Problem(part.name, group.wrong, hint, fatal=needs_all_views))
        if group.videos:
            groups.append(group)
    return groups, probed, problems


def _video_problems(
    videos: Sequence[VideoSpec | Unusable], broken: Sequence[VideoError]
) -> list[Problem]:
    """Errors of links and videos, then notes on usable videos."""
    errors: list[tuple[str, RayposeError]] = [(error.path, error) for error in broken]
    errors += [(video.path, video.error) for video in videos if isinstance(video, Unusable)]
    problems = [Problem(path, e.message, e.hint, fatal=True) for path, e in errors]
    usable = [video for video in videos if isinstance(video, VideoSpec)]
    return problems + [Problem(video.path, note) for video in usable for note in video.notes]


def _table_folders(config: RunConfig, models: Sequence[ModelSpec]) -> list[AnyPath]:
    roots = [owner_root(m.name, config.output_dir, as_path(m.directory)) for m in models]
    if config.eks:
        roots.append(eks_root(config))
    return [tables_folder(root, config.layout) for root in roots]


def eks_root(config: RunConfig) -> AnyPath:
    """Where the outputs of the smoothed ensemble go: --eks-dir wins over -o."""
    return config.eks_dir or owner_root(EKS, config.output_dir, None)


def _as_named_before(grouping: Grouping, config: RunConfig) -> Grouping:
    given = GivenNames([smooth_params_folder(eks_root(config))], ".json")
    return replace(grouping, recordings=tuple(name_recordings(grouping.recordings, given)))


def _without_other_files(
    videos: Sequence[VideoSpec | Unusable], found: FoundVideos
) -> tuple[list[VideoSpec | Unusable], list[Excluded]]:
    """The videos without files that a search found and that have no video track.

    Raises:
        UsageError: nothing else was found.
    """
    named = {str(video.path) for video in found.videos if video.named}
    others = {
        video.path
        for video in videos
        if isinstance(video, Unusable)
        and isinstance(video.error, NoVideoTrackError)
        and video.path not in named
    }
    excluded = [Excluded(as_path(path), NO_VIDEO) for path in sorted(others)]
    if others and len(others) == len(found.videos) and not found.broken:
        raise UsageError(f"no video there: {_listed(excluded)}")
    return [video for video in videos if video.path not in others], excluded


def _among(part: Recording, videos: Mapping[str, object]) -> Recording:
    """A part without the files that have no video track."""
    gone = tuple(view for view, path in part.files if str(path) not in videos)
    files = tuple((view, path) for view, path in part.files if str(path) in videos)
    return replace(part, files=files, missing=part.missing + gone)


def _notes(excluded: Sequence[Excluded]) -> list[Problem]:
    """One note per reason on files that are no inputs."""
    groups: dict[str, list[Excluded]] = {}
    for item in excluded:
        groups.setdefault(item.reason, []).append(item)
    hints = {OWN: "Copy one elsewhere to predict it all the same."}
    return [
        Problem(
            storage.common_folder([item.path for item in items]),
            _listed(items),
            hints.get(reason, ""),
            lasting=True,
        )
        for reason, items in groups.items()
    ]


def _listed(items: Sequence[Excluded]) -> str:
    """How many files are left out for one reason, and the first of them."""
    names = ", ".join(item.path.name for item in items[:_MOST_NAMED])
    more = ", …" if len(items) > _MOST_NAMED else ""
    count = "1 file is" if len(items) == 1 else f"{len(items)} files are"
    return f"{count} left out: {items[0].reason} ({names}{more})"


def _grouped(paths: Sequence[AnyPath], views: Sequence[str]) -> Grouping:
    """Files grouped by view; the parts of a URL are compared like those of a path."""
    names = {str(Path("/", *storage.parts(path))): path for path in paths}
    grouping = group_by_view([Path(name) for name in names], views)
    recordings = tuple(
        replace(r, files=tuple((view, names[str(path)]) for view, path in r.files))
        for r in grouping.recordings
    )
    unmatched = tuple((names[str(path)], reason) for path, reason in grouping.unmatched)
    return replace(grouping, recordings=recordings, unmatched=unmatched)


def _view_names(config: RunConfig, models: Sequence[ModelSpec]) -> tuple[str, ...]:
    named = [model.view_names for model in models if model.takes_views]
    views = config.views or (named[0] if named else ())
    if config.calibration is not None:
        from raypose.eks.calibration import read_cameras

        cameras = read_cameras(config.calibration)  # which also raises its errors
        views = views or tuple(camera.name for camera in cameras)
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
) -> list[Recording]:
    """Recordings, and videos that are one by themselves, in the order of their first files."""
    order = {video.path: i for i, video in enumerate(found)}
    if grouping is None:
        return [Recording(keys[video.path], (("", video.path),)) for video in found]
    parts = [recording for recording in grouping.recordings if recording.files]
    parts += [Recording(keys[path], (("", path),)) for path, _ in grouping.unmatched]
    return sorted(parts, key=lambda part: min(order[path] for _, path in part.files))


def _group(part: Recording, probed: Mapping[str, VideoSpec | Unusable]) -> Group:
    videos = [(view, probed[str(path)]) for view, path in part.files]
    usable = [replace(v, view=view) for view, v in videos if isinstance(v, VideoSpec)]
    unusable = [view for view, v in videos if isinstance(v, Unusable)]
    wrong = ""
    if part.missing:
        wrong = f"lacks the view {', '.join(part.missing)}"
    elif unusable and len(videos) > 1:
        wrong = f"its view {', '.join(unusable)} can't be used"
    elif len({video.n_frames for video in usable}) > 1:
        counts = ", ".join(f"{video.view} has {video.n_frames}" for video in usable)
        wrong = f"its views differ in frames: {counts}"
    if wrong:
        usable = [replace(video, view="") for video in usable]
    return Group(part.name, tuple(usable), wrong)
