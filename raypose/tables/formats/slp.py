"""SLEAP's labels file: an instance in every frame with a keypoint, all on one track.

sleap-io writes what the file says of video, track and skeleton. It would make an object of every
point, which takes half a millisecond per frame; so rows of points, instances and frames are
written as arrays, of the types that sleap-io has given a first frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.tables.formats.base import Description, Format, has_position
from raypose.tables.keypoints import KeypointTable

_TRACK = "animal"
Columns = NDArray[np.void]


def write(table: KeypointTable, path: Path, description: Description) -> None:
    import h5py

    _write_first_frame(table, path, description)
    is_present = has_position(table.xy)
    has_instance = np.asarray(is_present.any(axis=1))
    with h5py.File(path, "r+") as file:
        _replace(file, "pred_points", _points(table, is_present)[has_instance].reshape(-1))
        _replace(file, "instances", _instances(table, is_present, has_instance))
        _replace(file, "frames", _frames(has_instance))


def _points(table: KeypointTable, is_present: NDArray[np.bool_]) -> Columns:
    """The points of all frames, (n_frames, n_keypoints)."""
    types = [("x", "f8"), ("y", "f8"), ("visible", "?"), ("score", "f8")]
    points = np.empty(is_present.shape, types)
    points["x"], points["y"] = (
        np.where(is_present, table.xy[..., axis], np.nan) for axis in (0, 1)
    )
    points["visible"] = is_present
    points["score"] = np.nan_to_num(table.likelihood)
    return points


def _instances(
    table: KeypointTable, is_present: NDArray[np.bool_], has_instance: NDArray[np.bool_]
) -> Columns:
    """An instance for each frame that has a keypoint; its score is the mean of its points'."""
    names = ("instance_id", "frame_id", "point_id_start", "point_id_end")
    instances = np.empty(
        int(has_instance.sum()), [*((name, "i8") for name in names), ("score", "f8")]
    )
    n_keypoints = len(table.keypoint_names)
    order = np.arange(len(instances))
    instances["instance_id"] = order
    instances["frame_id"] = np.flatnonzero(has_instance)
    instances["point_id_start"] = order * n_keypoints
    instances["point_id_end"] = (order + 1) * n_keypoints
    scores = np.where(is_present, np.nan_to_num(table.likelihood), 0)[has_instance]
    instances["score"] = scores.sum(axis=1) / is_present[has_instance].sum(axis=1)
    return instances


def _frames(has_instance: NDArray[np.bool_]) -> Columns:
    """All frames, so that the file is as long as the video; those without a keypoint are empty."""
    names = ("frame_id", "frame_idx", "instance_id_start", "instance_id_end")
    frames = np.empty(len(has_instance), [(name, "i8") for name in names])
    frames["frame_id"] = frames["frame_idx"] = np.arange(len(frames))
    frames["instance_id_end"] = np.cumsum(has_instance)
    frames["instance_id_start"] = frames["instance_id_end"] - has_instance
    return frames


def _replace(file: Any, name: str, columns: Columns) -> None:
    """Rows in place of a data set's only one, which says the type, and what no column names."""
    rows = np.repeat(file[name][:1], len(columns))
    for column in columns.dtype.names or ():
        rows[column] = columns[column]
    del file[name]
    file.create_dataset(name, data=rows)


def _write_first_frame(table: KeypointTable, path: Path, description: Description) -> None:
    """Video, track and skeleton, with one frame."""
    import sleap_io

    skeleton = sleap_io.Skeleton(
        nodes=list(table.keypoint_names), edges=list(description.skeleton), name="skeleton"
    )
    track = sleap_io.Track(_TRACK)
    video = sleap_io.Video(
        filename=description.video or description.key,
        open_backend=False,
        backend_metadata={"shape": _shape(table.n_frames, description)},
    )
    instance = sleap_io.PredictedInstance.from_numpy(
        np.zeros((len(table.keypoint_names), 2)), skeleton=skeleton, track=track
    )
    frame = sleap_io.LabeledFrame(video=video, frame_idx=0, instances=[instance])
    labels = sleap_io.Labels([frame])
    labels.provenance["raypose"] = f"{description.owner} {description.recipe}"
    sleap_io.save_slp(labels, str(path), embed=False, verbose=False)


def _shape(n_frames: int, description: Description) -> tuple[int, int, int, int] | None:
    if description.size is None:
        return None
    width, height = description.size
    return n_frames, height, width, 3


FORMAT = Format(name="slp", suffix=".slp", writer=write, uses_video=True, has_skeleton=True)
