"""What a stage's outputs were made from, for their records: from what was read and done.

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

from raypose.errors import Failure, TableError, VideoError
from raypose.specs import VideoSpec
from raypose.storage import as_path, commits, recipes
from raypose.storage.digests import RUN_AGAIN, content_digest, verified
from raypose.storage.origins import Origin, VideoRead, merged
from raypose.tables.keypoints import KeypointTable
from raypose.tasks import PredictArgs
from raypose.worker.video_check import VideoCheck

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from raypose.inference.loop import MemberResult


def boxes_as_planned(args: PredictArgs) -> list[NDArray[np.float64]]:
    """The bounding boxes of each video, which must be those that the recipes name."""
    from raypose.inference.boxes import read_boxes

    boxes = []
    for path, recipe in zip(args.boxes, args.recipes, strict=False):
        with verified(path, str(recipe.get("boxes", "")), "the bounding boxes", VideoError):
            boxes.append(read_boxes(path))
    return boxes


def videos_read(
    args: PredictArgs, members: Sequence[Sequence[MemberResult] | Failure], video_check: VideoCheck
) -> tuple[VideoRead, ...]:
    """What a prediction has read, just after it has read it.

    Raises:
        VideoError: a video has changed meanwhile.
    """
    import numpy as np

    if not members:
        return ()
    n_bad: dict[str, int] = {}
    for member in members:
        if not isinstance(member, Failure):
            n_bad = {
                video.fingerprint: int(np.count_nonzero(view.frames.statuses))
                for video, view in zip(args.videos, member, strict=True)
            }
    # The digest of all bytes is wanted once for a video that is predicted in ranges.
    seen = video_check.seen(args.videos, whole=args.start == 0)
    return tuple(replace(read, n_bad=n_bad.get(read.fingerprint, 0)) for read in seen)


def joined(
    video: VideoSpec, made_from: Sequence[recipes.Recipe], videos: Iterable[VideoRead]
) -> tuple[recipes.Recipe, tuple[VideoRead, ...]]:
    """The recipe and the videos of a table from those of its ranges.

    Raises:
        VideoError: they can't be shown to be of the same file.
        TableError: they were predicted with different settings.
    """
    recipe = recipes.together(made_from)
    if recipe is None:
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
    return recipe, read


def _with_content(read: VideoRead, video: VideoSpec) -> VideoRead:
    if read.content or read.fingerprint != video.fingerprint:
        return read
    return replace(read, content=content_digest(as_path(video.path), read.identity))


def made_of(
    table: KeypointTable,
    output: str,
    recipe: Mapping[str, Any],
    video: VideoSpec,
    video_check: VideoCheck | None = None,
    *,
    facts: dict[str, Any] | None = None,
) -> AbstractContextManager[Path]:
    """Commit what is made of a table; as `commits.committing`.

    Args:
        table: the table.
        output: path of the output.
        recipe: as planned.
        video: whose table it is.
        video_check: of the video, where the task reads it too.
        facts: what to remember of the output.
    """
    origin = table.origin
    if origin is not None and "table" in recipe:
        recipe = {**recipe, "table": origin.recipe}

    def videos() -> tuple[VideoRead, ...]:
        if video_check is not None:
            return video_check.seen([video], behind=origin)
        return origin.videos if origin is not None else ()

    return commits.committing(
        as_path(output), recipe, source=video.path, facts=facts, videos=videos
    )


def of_members(
    recipe: Mapping[str, Any], origins: Sequence[Origin | None], n_members: int
) -> Mapping[str, Any]:
    """A smoothed table's recipe with the members' tables as they came out.

    Args:
        recipe: as planned.
        origins: of the tables of all members, one video after another; None where that is not
            known, and then the plan's word stands.
        n_members: how many members there are.
    """
    planned = recipe.get("members")
    if not isinstance(planned, list) or not any(origins):
        return recipe
    rows = [origins[i : i + n_members] for i in range(0, len(origins), n_members)]
    members = [
        [word if origin is None else origin.recipe for word, origin in zip(*pair, strict=True)]
        for pair in zip(planned, rows, strict=True)
    ]
    return {**recipe, "members": members}
