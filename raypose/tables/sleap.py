"""SLEAP's exports of one animal: CSV files, and analysis files (HDF5).

Both end at the last frame in which SLEAP found the animal, however long the video is: their tables
are open-ended, and are extended when they are combined with others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError
from raypose.tables.csv_rows import read_columns, read_head
from raypose.tables.keypoints import COORDS, FloatArray, KeypointTable
from raypose.tables.row_index import WRITE_AGAIN, AnyName

COLUMNS = ("track", "frame_idx", "instance.score")
SCORER = "sleap"
# How SLEAP itself writes its arrays; newer files name their axes, and those of old files that say
# that they are not transposed have another order.
_AXES = ("track", "xy", "node", "frame")
_OLD_AXES = ("frame", "node", "xy", "track")
_ONE_ANIMAL = "Write a table for each animal and give those: EKS smooths one animal at a time."
# A frame number far beyond what the number of rows suggests is a damaged one.
_MOST_FRAMES, _MOST_FRAMES_A_ROW = 1_000_000, 1000
_MOST_BYTES = 16 << 30


def several_animals(what: str, names: Sequence[str], path: AnyName) -> TableError:
    """The error for a table of more than one animal."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return TableError(
        f"holds {len(names)} {what} ({shown}), not one animal", path=path, hint=_ONE_ANIMAL
    )


def read_analysis(file: Any, path: AnyName) -> KeypointTable:
    """Reads an analysis file, opened with h5py: arrays of all tracks.

    Raises:
        TableError: it has several tracks, no scores, or axes that are not known; what h5py
            raises comes through.
    """
    tracks = file["tracks"]
    if "dims" in tracks.attrs:
        axes = tuple(str(axis) for axis in json.loads(tracks.attrs["dims"]))
    else:
        axes = _AXES if file.attrs.get("transpose", True) else _OLD_AXES
    if sorted(axes) != sorted(_AXES) or tracks.ndim != len(axes):
        raise TableError(f"its tracks have axes {axes}, which are not known", path=path)
    if tracks.size * 8 > _MOST_BYTES:
        raise TableError(f"its tracks are too large, of shape {tracks.shape}", path=path)
    n_tracks = tracks.shape[axes.index("track")]
    if n_tracks != 1:
        known = [name.decode() for name in file["track_names"][:]]
        raise several_animals("tracks", known or [str(i) for i in range(n_tracks)], path)
    if "point_scores" not in file:
        raise TableError(
            "has no scores of points, which smoothing needs",
            path=path,
            hint="Export it again with SLEAP 1.3 or later.",
        )
    if file["point_scores"].size * 2 != tracks.size:
        raise TableError("its scores do not fit its points", path=path, hint=WRITE_AGAIN)
    frame_node_xy = [axes.index(axis) for axis in ("track", "frame", "node", "xy")]
    xy = np.transpose(tracks[:], frame_node_xy)[0]
    flat = [axis for axis in axes if axis != "xy"]
    track_frame_node = [flat.index(axis) for axis in ("track", "frame", "node")]
    scores = np.transpose(file["point_scores"][:], track_frame_node)[0]
    names = tuple(name.decode() for name in file["node_names"][:])
    return _table(names, xy, scores)


def read_csv(path: AnyName) -> KeypointTable:
    """Reads a CSV export: one row for each instance; frames without one have no row.

    Raises:
        TableError: it is damaged, or one of several animals.
        OSError: it can't be read.
    """
    head = read_head(path, 1)
    names = head.rows[0]
    nodes = [name.removesuffix(".x") for name in names if name.endswith(".x")]
    lacking = [f"{n}.{c}" for n in nodes for c in ("y", "score") if f"{n}.{c}" not in names]
    if not nodes or lacking:
        raise TableError(f"has no {' and '.join(lacking) or 'points'}", path=path)
    columns = read_columns(head, names, texts=("track",))
    if not len(columns["frame_idx"]):
        raise TableError("has no points", path=path)
    tracks = sorted(set(columns.pop("track").tolist()))
    frames = _frames(columns["frame_idx"], path)
    if len(tracks) > 1:
        raise several_animals("tracks", tracks, path)
    if len(np.unique(frames)) < len(frames):
        raise TableError("has frames with two instances", path=path, hint=_ONE_ANIMAL)
    values = np.full((frames.max() + 1, len(nodes), 3), np.nan, np.float32)
    with np.errstate(over="ignore"):  # what no float32 can hold is infinite
        for i, node in enumerate(nodes):
            for j, column in enumerate(("x", "y", "score")):
                values[frames, i, j] = columns[f"{node}.{column}"]
    return _table(tuple(nodes), values[..., :2], values[..., 2])


def _frames(numbers: npt.NDArray[Any], path: AnyName) -> npt.NDArray[np.int64]:
    """The frames of the rows, as whole numbers."""
    most = _MOST_FRAMES + _MOST_FRAMES_A_ROW * len(numbers)
    for number in numbers:
        if not 0 <= number < most or number != int(number):
            raise TableError(
                f"a row is of frame {number:g}, which can't be", path=path, hint=WRITE_AGAIN
            )
    return numbers.astype(np.int64)


def _table(names: tuple[str, ...], xy: FloatArray, scores: FloatArray) -> KeypointTable:
    """From positions (n_frames, n_keypoints, 2) and scores (n_frames, n_keypoints)."""
    seen = ~np.isnan(xy).any(axis=-1)
    likelihood = np.where(np.isnan(scores), seen, np.where(seen, scores, 0.0))
    with np.errstate(over="ignore"):
        values = np.concatenate([xy, likelihood[..., None]], axis=-1, dtype=np.float32)
    return KeypointTable(SCORER, names, COORDS, values, open_ended=True)
