"""The tables of a run with their numbers, as the report shows them; tables are not read for it.

`run.json` names the videos and outputs of the last run; tables of earlier runs in the same
directory are found by their records. What a report says of a table comes from the file that
`steps.review` made of it, else from its quality file, else from its record.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from raypose import storage
from raypose.errors import RayposeError
from raypose.metrics.review import Review
from raypose.report.html.run_facts import Failed, RunFacts
from raypose.report.ranking import Numbers
from raypose.specs import EKS
from raypose.steps.worst import recorded_clips
from raypose.storage import AnyPath, as_path, records
from raypose.storage.layout import (
    METRICS,
    OutputPaths,
    folder_of_tables,
    owner_and_key,
    paths_of_table,
)
from raypose.storage.listing import Listing
from raypose.video.turns import Turns, map_in_turns

MAX_REVIEWS = 3000
"""Tables whose review is in memory, and so in the page, at most; 6,000 took some 400 MB."""
_BEYOND = f"A report shows {MAX_REVIEWS:,} tables in detail, those of the highest scores first."
_AT_ONCE = 16
_MAX_QUALITY_BYTES, _MAX_REVIEW_BYTES = 16 << 20, 64 << 20


@dataclass(slots=True)
class TableFacts:
    """One table of keypoints.

    Attributes:
        owner: the model's name, or `eks`.
        path: of the table.
        recipe: as its record says.
        numbers: from its quality.
        fps: of its video; 0 where its review does not tell.
        review: what the report shows of it; None where it was made without, or there are too many.
        left_out: whether its review has not been read, since there are too many.
        note: why there is no review; empty where there is one.
        files: what the file is, for people → path; those that exist.
    """

    owner: str
    path: AnyPath
    recipe: str = ""
    numbers: Numbers = field(default_factory=Numbers)
    fps: float = 0.0
    review: Review | None = None
    left_out: bool = False
    note: str = ""
    files: dict[str, AnyPath] = field(default_factory=dict)


@dataclass(slots=True)
class VideoFacts:
    """A video of the run with its tables, by owner, the smoothed ensemble last."""

    key: str
    path: str = ""
    n_frames: int = 0
    fps: float = 0.0
    tables: dict[str, TableFacts] = field(default_factory=dict)
    failures: list[Failed] = field(default_factory=list)


class _Names:
    """Which files there are; each folder is listed once."""

    def __init__(self) -> None:
        self._listing = Listing()
        self._folders: dict[str, set[str]] = {}

    def below(self, folder: AnyPath) -> set[str]:
        name = str(folder)
        if name not in self._folders:
            above = next((of for of in self._folders if name.startswith(f"{of}/")), None)
            if above is None:
                self._folders[name] = set(self._listing.files_below(folder))
            else:
                files = self._folders[above]
                self._folders[name] = {file for file in files if file.startswith(f"{name}/")}
        return self._folders[name]


def find_videos(run: RunFacts, base: AnyPath | None) -> list[VideoFacts]:
    """The videos of a run, with what is known of their tables.

    Args:
        run: the run.
        base: the directory of all outputs, which may have moved since; None where there is none.

    Where there are more than `MAX_REVIEWS` tables, reviews are left out: see `read_reviews`.

    Raises:
        StorageError: a store can't be asked.
    """
    names = _Names()
    videos = {video.key: video for video in _described(run)}
    places = dict(_recorded_places(run, base))
    if base is not None:
        for place, key, owner in _tables_below(base, names):
            places.setdefault(place, (key, owner))
    present = [
        (as_path(place), key, owner)
        for place, (key, owner) in places.items()
        if place in names.below(folder_of_tables(as_path(place)))
    ]
    in_full = len(present) <= MAX_REVIEWS
    read = map_in_turns(
        lambda at: _read_table(at[0], at[2], names, in_full),
        present,
        turns=Turns(_AT_ONCE),
        per_turn=8,
    )
    for (_, key, _), found in zip(present, read, strict=True):
        if found is None:
            continue
        table, source = found
        video = videos.setdefault(key, VideoFacts(key))
        video.path = video.path or source
        video.tables[table.owner] = table
    failures = run.failures
    about = _by_name(failures)
    for video in videos.values():
        video.tables = dict(sorted(video.tables.items(), key=lambda item: item[0] == EKS))
        _complete(video)
        chosen = {*about.get(video.key, ()), *about.get(video.path, ())}
        video.failures = [failures[i] for i in sorted(chosen)]
    return list(videos.values())


def _complete(video: VideoFacts) -> None:
    """What the run's description does not say, from the tables."""
    for table in video.tables.values():
        video.n_frames = video.n_frames or table.numbers.n_frames or 0
        video.fps = video.fps or table.fps


def _by_name(failures: Sequence[Failed]) -> dict[str, list[int]]:
    """Key or path of a video → places of what failed because of it, or what its outputs lack."""
    places: dict[str, list[int]] = {}
    for place, failed in enumerate(failures):
        for name in {*failed.videos, failed.path, failed.subject} - {""}:
            places.setdefault(name, []).append(place)
    return places


def _described(run: RunFacts) -> Iterator[VideoFacts]:
    listed = run.description.get("videos")
    for video in listed if isinstance(listed, list) else ():
        if isinstance(video, dict) and isinstance(video.get("key"), str):
            n_frames, fps = video.get("n_frames"), video.get("fps")
            yield VideoFacts(
                video["key"],
                str(video.get("path", "")),
                n_frames if isinstance(n_frames, int) else 0,
                float(fps) if isinstance(fps, int | float) else 0.0,
            )


def _recorded_places(run: RunFacts, base: AnyPath | None) -> Iterator[tuple[str, tuple[str, str]]]:
    """Path of each table that the run names → key of its video, and its owner."""
    listed = run.description.get("outputs")
    for output in listed if isinstance(listed, list) else ():
        if not isinstance(output, dict) or output.get("kind") not in ("table", "smooth"):
            continue
        paths, owner = output.get("paths"), str(output.get("owner", ""))
        for name, path in (paths if isinstance(paths, dict) else {}).items():
            if not str(name).startswith("table"):
                continue
            key = str(output.get("video", ""))
            if output["kind"] == "smooth":  # the tables of all views
                key = _key_of(as_path(str(path)))
            yield _moved(str(path), run.output_dir, base), (key, owner)


def _key_of(table: AnyPath) -> str:
    """The key of a table's video: where it lies below the folder of its owner's tables."""
    return str(table)[len(str(folder_of_tables(table))) + 1 :].removesuffix(".csv")


def _moved(path: str, old: str, base: AnyPath | None) -> str:
    """Where a file is now that lay below the directory of all outputs."""
    inside = old and path.startswith(f"{old}/")
    return f"{base}/{path[len(old) + 1 :]}" if inside and base is not None else path


def _tables_below(base: AnyPath, names: _Names) -> Iterator[tuple[str, str, str]]:
    """Path, key and owner of everything below a folder that looks like a table with a record."""
    for table in sorted(records.recorded_below(base, names.below(base))):
        if table.endswith(".csv") and (at := owner_and_key(table, base.name)):
            owner, key = at
            yield f"{base}/{table}", key, owner


def read_reviews(videos: Sequence[VideoFacts]) -> None:
    """Read the reviews that `find_videos` has left out, of the first `MAX_REVIEWS` tables."""
    tables = [table for video in videos for table in video.tables.values()]
    left_out = [table for table in tables[:MAX_REVIEWS] if table.left_out]

    def read(table: TableFacts) -> None:
        path = paths_of_table(table.path).review
        table.review, table.note = _review(path, table.recipe, {str(path)})

    map_in_turns(read, left_out, turns=Turns(_AT_ONCE), per_turn=8)


def _read_table(
    path: AnyPath, owner: str, names: _Names, in_full: bool
) -> tuple[TableFacts, str] | None:
    """What is known of a table, and the path of its video; None for a table of something else.

    Its review is in it only if it is wanted `in_full`.
    """
    record = records.read_record(path) or {}
    kind = record["made_from"].get("kind") if record else ""
    if record and kind not in records.TABLE_KINDS:
        return None
    recipe = str(record.get("recipe", ""))
    table = TableFacts(EKS if kind == records.SMOOTHED else owner, path, recipe)
    paths, there = paths_of_table(path), names.below(folder_of_tables(path))
    clips = recorded_clips(paths.worst) if str(paths.worst) in there else []
    worst = ((f"worst moment {n}", clip) for n, clip in enumerate(clips, 1))
    files = (*_files(paths), *worst)
    table.files = {what: place for what, place in files if str(place) in there}
    facts = record.get("facts", {})
    if in_full or "quality" not in table.files:
        table.review, table.note = _review(paths.review, recipe, there)
    if table.review is not None:
        quality = table.review.facts.get("quality")
        table.fps = float(table.review.facts.get("fps") or 0.0)
    else:
        quality = _quality(table.files.get("quality"))
    if not isinstance(quality, dict):
        quality = {"n_frames": facts.get("n_rows"), "frames": facts.get("frames")}
    if not (in_full or table.note):
        table.review, table.left_out, table.note = None, True, _BEYOND
    table.numbers = Numbers.of(quality)
    return table, str(record.get("source", ""))


def _files(paths: OutputPaths[AnyPath]) -> Iterator[tuple[str, AnyPath]]:
    yield "predictions", paths.predictions
    yield "labelled video", paths.labeled
    yield "labelled snippet", paths.snippet_labeled
    yield "snippet", paths.snippet
    yield "snippet's predictions", paths.snippet_predictions
    for name in METRICS:
        yield name.replace("_", " "), paths.metric(name)
    yield "frames", paths.frames
    yield "quality", paths.quality
    yield "worst moments", paths.worst


def _review(path: AnyPath, recipe: str, there: set[str]) -> tuple[Review | None, str]:
    """The review of the table that was made as `recipe` says, or why there is none."""
    if str(path) not in there:
        return None, "It was made without a report: run the same command again."
    record = records.read_record(path)
    if record is None or record["made_from"].get("table") != recipe:
        return None, "The table is newer than its report data: run the same command again."
    try:
        return Review.read(storage.read_head(path, _MAX_REVIEW_BYTES)), ""
    except (OSError, ValueError, RayposeError) as error:
        hint = "remove the file and run the same command again"
        return None, f"Its report data, {path.name}, can't be read ({error}): {hint}."


def _quality(path: AnyPath | None) -> Any:
    if path is None:
        return None
    try:
        return json.loads(storage.read_head(path, _MAX_QUALITY_BYTES))
    except (OSError, ValueError, RecursionError, RayposeError):
        return None
