"""Finished ranges of frames: what is kept of a video that is predicted in parts.

A range is a Parquet file in a hidden folder beside the table it will be a part of, committed
with a record like any output. After a kill, the next run reads the ranges that were made from
the same video, checkpoint and settings, and predicts only the gaps. They go when the table is
committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose import storage
from raypose.errors import TableError
from raypose.storage import AnyPath, commits, records
from raypose.storage.layout import HIDDEN
from raypose.storage.origins import VideoRead
from raypose.storage.provenance import Provenance
from raypose.video.frames import Frames


def range_folder(table: AnyPath) -> AnyPath:
    """Where the ranges of a table are kept."""
    return table.parent / HIDDEN / "ranges" / table.stem


def finished_ranges(
    folder: AnyPath,
    *provenances: Provenance,
    why_stale: Callable[[Mapping[str, Any]], str] = lambda record: "",
) -> tuple[tuple[int, int, str], ...]:
    """Existing ranges made from one of the provenances, verified, without overlaps, in order.

    `(start, stop, path)` each; `why_stale` as in `records.check`.
    """
    found: list[tuple[int, int, str]] = []
    position = 0
    for path in storage.list_files(folder):
        if path.suffix != ".parquet":
            continue
        try:
            start, stop = (int(part) for part in path.stem.split("-"))
        except ValueError:
            continue
        if start >= position and records.check(path, *provenances, why_stale=why_stale).done:
            found.append((start, stop, str(path)))
            position = stop
    return tuple(found)


def write_range(
    folder: AnyPath,
    start: int,
    values: NDArray[np.float32],
    provenance: Provenance,
    *,
    frames: Frames,
    source: str,
    videos: Sequence[VideoRead] = (),
) -> AnyPath:
    """Commit the keypoints (n_frames, n_keypoints, 3) from frame `start` on, and the frames."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n_frames, n_keypoints, n_coords = values.shape
    flat = pa.array(values.reshape(-1))
    rows = pa.FixedSizeListArray.from_arrays(flat, n_keypoints * n_coords)
    columns = {
        "keypoints": rows,
        "time_s": pa.array(frames.times_s),
        "status": pa.array(frames.statuses),
    }
    shape = {"shape": f"{n_keypoints},{n_coords}"}
    table = pa.table(columns).replace_schema_metadata(shape)
    path = folder / f"{start:09d}-{start + n_frames:09d}.parquet"
    stats = {"n_rows": n_frames, "frames": frames.counts}
    with commits.committing(
        path, provenance, source=source, stats=stats, videos=lambda: videos
    ) as temporary:
        # By its name Arrow opens no file whose name is not UTF-8.
        with temporary.open("wb") as file:
            pq.write_table(table, file)
    return path


def read_range(path: AnyPath) -> tuple[NDArray[np.float32], Frames]:
    """The keypoints (n_frames, n_keypoints, 3) of a range, and its frames.

    Raises:
        TableError: the file is gone or broken.
        StorageError: the object can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(path)))
    except (OSError, pa.ArrowException) as error:
        raise TableError(
            f"a finished range can't be read ({error})",
            path=path,
            hint="Remove it and run again: its frames are then redone.",
        ) from error
    metadata = table.schema.metadata or {}
    n_keypoints, n_coords = (int(part) for part in metadata[b"shape"].split(b","))
    flat = table["keypoints"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    frames = Frames(table["time_s"].to_numpy(), table["status"].to_numpy())
    return flat.reshape(-1, n_keypoints, n_coords), frames


def remove_ranges(folder: AnyPath) -> None:
    storage.store_of(folder).remove_folder(folder)
