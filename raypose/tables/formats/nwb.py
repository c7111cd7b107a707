"""Neurodata Without Borders: the `PoseEstimation` of its extension ndx-pose.

Everything is in the processing module `behavior`. `PoseEstimation` has a series with position and
likelihood for every keypoint. What it has no place for lies beside it: medians and variances of
an ensemble, and the status of each frame, where they are known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from raypose._version import __version__
from raypose.errors import TableError
from raypose.specs import EKS
from raypose.tables.formats.base import Description, Format
from raypose.tables.keypoints import KeypointTable
from raypose.video.frames import WORDS

_REFERENCE_FRAME = "(0, 0) is at the top left of the frame; x points right and y down."
_FORBIDDEN = "/:"  # in names of an NWB file
_ENSEMBLE = {
    "ensemble_median": ("ens_median", "pixels", "Median of the members' predictions"),
    "ensemble_variance": ("ens_var", "pixels^2", "Variance of the members' predictions"),
    "posterior_variance": ("posterior_var", "pixels^2", "Posterior variance of the smoother"),
}
"""Name of a series → the columns of a smoothed table it holds, their unit, what they are."""


def write(table: KeypointTable, path: Path, description: Description) -> None:
    """Raises TableError where times are unknown, or a keypoint's name is not valid in NWB."""
    from ndx_pose import PoseEstimation, Skeleton, Skeletons
    from pynwb import NWBHDF5IO, NWBFile

    if description.times_s is None:
        message = f"NWB needs the time of every frame, and {description.unknown}"
        hint = "Put the video where it was when it was predicted, or choose another format."
        raise TableError(message, hint=hint)
    _check_names(table, description)
    file = NWBFile(
        session_description=_session(description),
        identifier=f"{description.key} {description.owner} {description.recipe[:16]}",
        session_start_time=description.began,
    )
    series = list(_series(table, description.times_s))
    names = list(table.keypoint_names)
    edges = [[names.index(name) for name in bone] for bone in description.skeleton]
    skeleton = Skeleton(
        name="skeleton", nodes=names, edges=np.array(edges, np.uint8).reshape(-1, 2)
    )
    video = _video(description, series[0])
    if video is not None:
        file.add_acquisition(video)
    behavior = file.create_processing_module("behavior", "Keypoints of the animal in the video")
    behavior.add(Skeletons(skeletons=[skeleton]))
    estimation = PoseEstimation(
        name="PoseEstimation",
        pose_estimation_series=series,
        description=_made_by(description),
        scorer=table.scorer,
        source_software="raypose",
        source_software_version=__version__,
        skeleton=skeleton,
        source_video=video,
    )
    behavior.add(estimation)
    for more in _beside(table, series[0]):
        behavior.add(more)
    with NWBHDF5IO(path, "w") as io:
        io.write(file)


def _check_names(table: KeypointTable, description: Description) -> None:
    for text in (description.key, description.video):
        text.encode()  # NWB's texts are UTF-8; its library would report a failed attribute
    wrong = [name for name in table.keypoint_names if set(name) & set(_FORBIDDEN)]
    if wrong:
        message = f"NWB allows neither / nor : in the names of keypoints: {', '.join(wrong)}"
        raise TableError(message, hint="Choose another format.")


def _session(description: Description) -> str:
    return (
        f"Keypoints in the video {description.key}. The start of the session is "
        f"{description.began_by}; times are in seconds after the first frame."
    )


def _made_by(description: Description) -> str:
    if description.owner == EKS:
        return "An ensemble of predictions, smoothed by the Ensemble Kalman Smoother"
    return f"Predictions of the Lightning Pose model {description.owner}"


def _series(table: KeypointTable, times_s: Any) -> Iterator[Any]:
    """A series for each keypoint; the times are stored once."""
    from ndx_pose import PoseEstimationSeries

    timestamps = times_s
    for k, name in enumerate(table.keypoint_names):
        one = PoseEstimationSeries(
            name=name,
            description=f"Position of {name}; NaN where there is none",
            data=table.xy[:, k],
            unit="pixels",
            reference_frame=_REFERENCE_FRAME,
            timestamps=timestamps,
            confidence=table.likelihood[:, k],
            confidence_definition="Likelihood of the keypoint, from 0 to 1, as its tool gives it",
        )
        yield one
        if timestamps is times_s:
            timestamps = one


def _video(description: Description, timed: Any) -> Any:
    """The video, by a path relative to the file if it is on a disk; None where it is unknown."""
    from pynwb.image import ImageSeries

    if not description.video:
        return None
    place = description.video
    if description.folder is not None and os.path.isabs(place):
        place = os.path.relpath(place, description.folder)
    return ImageSeries(
        name="source_video",
        description=f"The video {description.key}",
        external_file=[place],
        starting_frame=[0],
        format="external",
        dimension=None if description.size is None else list(description.size),
        unit="n.a.",
        timestamps=timed,
    )


def _beside(table: KeypointTable, timed: Any) -> Iterator[Any]:
    """Series of what `PoseEstimation` has no place for."""
    from pynwb import TimeSeries

    order = "axes are frame, keypoint in the order of the skeleton's nodes, and x, y"
    for name, (column, unit, what) in _ENSEMBLE.items():
        if f"x_{column}" in table.coords:
            at = [table.coords.index(f"{axis}_{column}") for axis in ("x", "y")]
            yield TimeSeries(
                name=name,
                description=f"{what}; {order}",
                data=table.values[..., at],
                unit=unit,
                timestamps=timed,
            )
    if table.frames is not None:
        words = ", ".join(f"{code} {word}" for code, word in enumerate(WORDS))
        yield TimeSeries(
            name="frame_status",
            description=f"Whether each frame could be decoded: {words}",
            data=table.frames.statuses,
            unit="n.a.",
            timestamps=timed,
        )


FORMAT = Format(
    name="nwb", suffix=".nwb", writer=write, uses_video=True, needs_times=True, has_skeleton=True
)
