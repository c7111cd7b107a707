"""Tables in an output directory, with the records of a run."""

from __future__ import annotations

from pathlib import Path

from raypose.steps.frame_files import commit_frames
from raypose.storage import commits
from raypose.storage.layout import output_paths
from raypose.tables.keypoints import KeypointTable, write_csv
from raypose.video.index import fingerprint_video


def commit_table(
    out: Path,
    owner: str,
    key: str,
    table: KeypointTable,
    video: Path,
    *,
    kind: str = "predictions",
) -> Path:
    """Commit a table as `steps.table` and `steps.smooth` do; returns its path.

    Args:
        out: the output directory.
        owner: name of the model, or `eks`.
        key: of the video.
        table: the table.
        video: the video's file, which need not exist.
        kind: `predictions` or `smoothed`.
    """
    path = output_paths(out / owner, key, "app").predictions
    fingerprint = fingerprint_video(video) if video.exists() else "gone"
    made_from = {"kind": kind, "video": fingerprint, "model": owner}
    with commits.committing(path, made_from, source=str(video)) as temporary:
        write_csv(table, temporary)
    if table.frames is not None:
        commit_frames(path, made_from, table.frames, source=str(video))
    return Path(path)
