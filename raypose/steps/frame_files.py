"""The file of frames beside a table: committed with it, and read with it.

It is written wherever a frame is not ok, so that every later reader of the table (another step,
another run, a person) knows which rows to trust; and for every video where it is asked for. Its
content is `raypose.video.frames`; its place, `layout`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raypose import storage
from raypose.errors import TableError, VideoError
from raypose.specs import VideoSpec
from raypose.storage import AnyPath, as_path, commits, digests, records
from raypose.storage.layout import frames_beside
from raypose.storage.origins import Origin, VideoRead
from raypose.storage.provenance import Provenance
from raypose.tables.keypoints import KeypointTable, write_csv
from raypose.video.frames import WORDS, Frames, damage, describe, read_frames, write_frames

COUNTS = "frames"
"""Name of the counts of each status among the stats that are recorded of a table."""


def frames_provenance(table: Provenance, origin: Origin | None = None) -> dict[str, Any]:
    """What the file of frames is made from, by its table's provenance.

    The table's origin counts instead where it came out with other settings than planned.
    """
    digest = digests.digest_of_json(table) if origin is None else origin.provenance
    return {"kind": "frames", "table": digest, "video": table.get("video", "")}


def recorded_damage(stats: Mapping[str, Any] | None) -> dict[str, int]:
    """The frames of each status, as recorded of a table; empty where all are ok."""
    recorded = (stats or {}).get(COUNTS)
    if not isinstance(recorded, Mapping):
        return {}
    counts = {word: n for word in WORDS if isinstance(n := recorded.get(word), int)}
    return counts if damage(counts) else {}


def commit_frames(
    table: AnyPath,
    provenance: Provenance,
    frames: Frames,
    *,
    source: str,
    videos: Sequence[VideoRead] = (),
    always: bool = False,
    origin: Origin | None = None,
) -> list[str]:
    """Commit the file of frames of a table, where it says something; returns its path, if so.

    With `always`, and where an earlier one lies in its place, it is written though all are ok.
    """
    path, made_from = frames_beside(table), frames_provenance(provenance, origin)
    if frames.all_ok and not always and not storage.exists(path):
        return []
    stats = {"n_rows": len(frames), COUNTS: frames.counts}
    with commits.committing(
        path, made_from, source=source, stats=stats, videos=lambda: videos
    ) as temporary:
        write_frames(frames, temporary)
    return [str(path)]


def drop_frames(table: AnyPath) -> None:
    """Remove the file of frames that was committed with an earlier table in this place."""
    path = frames_beside(table)
    if storage.exists(path) and not records.check(path, {}).untracked:
        storage.store_of(path).remove(path)


def commit_table(
    table: KeypointTable,
    frames: Frames | None,
    path: str,
    provenance: Provenance,
    video: VideoSpec,
    stats: Mapping[str, Any],
    n_threads: int,
) -> list[str]:
    """Commit a table, with the file of its frames where it needs one; returns their paths.

    `frames` is None where nothing is known of them. `stats` are recorded beside the number of rows
    and the counts of each status.
    """
    output, source = as_path(path), video.path
    made: list[str] = []
    read = table.origin.videos if table.origin is not None else ()
    noted = {"n_rows": table.n_frames, **stats}
    if frames is None:
        drop_frames(output)
    else:
        noted[COUNTS] = frames.counts
        made = commit_frames(output, provenance, frames, source=source, videos=read)
    with commits.committing(
        output, provenance, source=source, stats=noted, videos=lambda: read
    ) as temporary:
        write_csv(table, temporary, n_threads)
    return [path, *made]


def with_frames(table: KeypointTable, path: AnyPath, local: Callable[[str], str]) -> KeypointTable:
    """The table read from `path`, with the status of its frames where there is a file of them.

    Raises:
        TableError: the file of frames can't be read, or is of another table.
    """
    beside = frames_beside(path)
    if not storage.exists(beside):
        return table
    frames = read_frames(local(str(beside)))
    if len(frames) != table.n_frames:
        raise TableError(
            f"it has the status of {len(frames)} frames, and {path} has {table.n_frames} rows",
            path=beside,
            hint="Remove it if it is of another video, or predict the video again.",
        )
    return replace(table, frames=frames)


def frames_of_members(tables: Sequence[Any]) -> Frames | None:
    """What members' tables say of the frames of one video; None where all are ok."""
    known = [t.frames for t in tables if isinstance(t, KeypointTable) and t.frames is not None]
    lengths = {len(frames) for frames in known}
    return Frames.worst(known) if len(lengths) == 1 else None


def refuse_damage(frames: Frames, path: str) -> None:
    """Raises VideoError for a video with frames that are not ok, as `--strict` asks."""
    if not frames.all_ok:
        raise VideoError(
            describe(frames.counts),
            path=path,
            hint="Copy or record it again, or leave out --strict: damaged frames are then marked.",
        )
