"""What a step's outputs were made from, for their records: from what was read and done.

A plan says what it expects; these say how it came out: with which precision and decoder a table
was predicted, from which files, and of which tables the rest was made. See
`raypose.storage.origins`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import Failure, TableError, VideoError
from raypose.specs import VideoSpec
from raypose.steps.base import OutputStep
from raypose.storage import as_path, commits
from raypose.storage.digests import RUN_AGAIN, content_digest, verified
from raypose.storage.origins import Origin, VideoRead, merged
from raypose.storage.provenance import Provenance, together
from raypose.tables.keypoints import KeypointTable
from raypose.worker.video_check import VideoCheck

if TYPE_CHECKING:
    from raypose.inference.loop import MemberResult


def bbox_as_planned(
    paths: Sequence[str], provenances_of_videos: Sequence[Provenance]
) -> list[NDArray[np.float64]]:
    """The bounding boxes of each video, from the files that the provenances name.

    Raises:
        VideoError: a file is another than the plan saw.
    """
    from raypose.inference.bbox import read_bboxes

    found = []
    for path, provenance in zip(paths, provenances_of_videos, strict=False):
        with verified(path, str(provenance.get("boxes", "")), "the bounding boxes", VideoError):
            found.append(read_bboxes(path))
    return found


def videos_read(
    videos: Sequence[VideoSpec],
    members: Sequence[Sequence[MemberResult] | Failure],
    video_check: VideoCheck,
    *,
    whole: bool,
) -> tuple[VideoRead, ...]:
    """What a prediction has read, just after it has read it.

    `whole`: whether the digest of all bytes is wanted: once for a video predicted in ranges.

    Raises:
        VideoError: a video has changed meanwhile.
    """
    n_bad: dict[str, int] = {}
    for member in members:
        if not isinstance(member, Failure):
            n_bad = {
                video.fingerprint: int(np.count_nonzero(view.frames.statuses))
                for video, view in zip(videos, member, strict=True)
            }
    seen = video_check.seen(videos, whole=whole)
    return tuple(replace(read, n_bad=n_bad.get(read.fingerprint, 0)) for read in seen)


def joined(
    video: VideoSpec, made_from: Sequence[Provenance], videos: Iterable[VideoRead]
) -> tuple[Provenance, tuple[VideoRead, ...]]:
    """The provenance and the videos of a table from those of its ranges.

    Raises:
        VideoError: they can't be shown to be of the same file.
        TableError: they were predicted with different settings.
    """
    provenance = together(made_from)
    if provenance is None:
        raise TableError(
            "its ranges were predicted with different settings",
            path=video.path,
            hint="Predict it again with --overwrite.",
        )
    videos = list(videos)
    read = merged(videos)
    if read is None:  # hosts may know one file by different inodes
        read = merged(_with_content(entry, video) for entry in videos)
    if read is None:
        raise VideoError(
            "the video changed while it was predicted in parts", path=video.path, hint=RUN_AGAIN
        )
    return provenance, read


def _with_content(read: VideoRead, video: VideoSpec) -> VideoRead:
    if read.content or read.fingerprint != video.fingerprint:
        return read
    return replace(read, content=content_digest(as_path(video.path), read.identity))


def commit_from_table(
    step: OutputStep,
    table: KeypointTable,
    output: str,
    video_check: VideoCheck | None = None,
    *,
    stats: dict[str, Any] | None = None,
) -> AbstractContextManager[Path]:
    """Commit an output that a step makes from a table; as `commits.committing`.

    `video_check` is given where the step reads the video too.
    """
    origin, provenance = table.origin, step.provenance
    if origin is not None and "table" in provenance:
        provenance = {**provenance, "table": origin.provenance}

    def videos() -> tuple[VideoRead, ...]:
        if video_check is not None:
            return video_check.seen([step.video], behind=origin)
        return origin.videos if origin is not None else ()

    return commits.committing(
        as_path(output), provenance, source=step.video.path, stats=stats, videos=videos
    )


def of_members(
    provenance: Mapping[str, Any], origins: Sequence[Origin | None], n_members: int
) -> Mapping[str, Any]:
    """A smoothed table's provenance with the members' tables as they came out.

    `origins` are those of all members' tables, one video after another; None where one is not
    known, and then the plan's word stands.
    """
    planned = provenance.get("members")
    if not isinstance(planned, list) or not any(origins):
        return provenance
    rows = [origins[i : i + n_members] for i in range(0, len(origins), n_members)]
    members = [
        [word if origin is None else origin.provenance for word, origin in zip(*pair, strict=True)]
        for pair in zip(planned, rows, strict=True)
    ]
    return {**provenance, "members": members}
