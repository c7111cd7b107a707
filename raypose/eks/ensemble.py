"""The first step of smoothing: the members' tables become one of averages and variances."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from raypose.config import EksOptions
from raypose.eks.parameter import Float64
from raypose.errors import SmoothingError
from raypose.tables.keypoints import EKS_COORDS, EKS_SCORER, FloatArray, KeypointTable

# Columns of the table that hold the ensemble's average and variance, x and y.
AVERAGE = slice(3, 5)
VARIANCE = slice(5, 7)
POSTERIOR = slice(7, 9)

# `eks` gives this variance, in pixels squared, where none can be computed.
_UNKNOWN_VARIANCE = 1000.0
_CHUNK_FRAMES = 16_384


def aligned(members: Sequence[KeypointTable], min_members: int = 2) -> list[KeypointTable]:
    """The members, checked to fit each other, with their keypoints in the order of the first."""
    if len(members) < min_members:
        raise SmoothingError(
            f"{len(members)} of at least {min_members} members of the ensemble can be used",
            hint="Give more models, or lower --min-members.",
        )
    names = members[0].keypoint_names
    for i, member in enumerate(members[1:], start=2):
        missing = [name for name in names if name not in member.keypoint_names]
        extra = [name for name in member.keypoint_names if name not in names]
        lacks = [f"member {i} lacks {', '.join(missing)}"] if missing else []
        lacks += [f"member 1 lacks {', '.join(extra)}"] if extra else []
        if lacks:
            raise SmoothingError(
                f"members have different keypoints: {'; '.join(lacks)}",
                hint="Smooth models that were trained on the same keypoints.",
            )
        if member.n_frames != members[0].n_frames:
            raise SmoothingError(
                f"members have different lengths: member 1 has {members[0].n_frames} frames, "
                f"member {i} has {member.n_frames}",
                hint="Predict the same video with each of them again.",
            )
    for i, member in enumerate(members, start=1):
        infinite = np.isinf(member.values[..., :3]).any(axis=2)
        if infinite.any():
            frame, k = (int(n) for n in np.argwhere(infinite)[0])
            raise SmoothingError(
                f"member {i} has an infinite value of {member.keypoint_names[k]} in frame {frame}",
                hint="Predict the video with this model again.",
            )
    return [member.select(names) for member in members]


def ensemble_table(members: Sequence[KeypointTable], options: EksOptions) -> KeypointTable:
    """Averages and variances of the members, in a table whose smoothed columns are NaN still.

    As `eks.core.ensemble`: NaN are left out of averages and variances, the likelihood is the mean
    of all members', and a variance that can't be computed is 1000.
    """
    first = members[0]
    shape = (first.n_frames, len(first.keypoint_names), len(EKS_COORDS))
    values = np.full(shape, np.nan, dtype=np.float32)
    for start in range(0, first.n_frames, _CHUNK_FRAMES):
        rows = slice(start, start + _CHUNK_FRAMES)
        part = np.stack([member.values[rows] for member in members]).astype(np.float64)
        likelihood = part[..., 2].mean(axis=0)
        average, variance = _average_and_variance(part[..., :2], options.avg_mode)
        if options.var_mode == "confidence_weighted_var":
            with np.errstate(divide="ignore", invalid="ignore"):
                variance /= likelihood[..., None]
        values[rows, :, 2] = likelihood
        values[rows, :, AVERAGE] = average
        values[rows, :, VARIANCE] = np.nan_to_num(
            variance, nan=_UNKNOWN_VARIANCE, posinf=float(np.finfo(np.float32).max)
        )
    return KeypointTable(EKS_SCORER, first.keypoint_names, EKS_COORDS, values)


def _average_and_variance(xy: Float64, avg_mode: str) -> tuple[Float64, Float64]:
    """Over members, the first axis; only entries with gaps take the slow functions for NaN."""
    mean = xy.mean(axis=0)
    variance = np.square(xy - mean).mean(axis=0)
    average = _median(xy) if avg_mode == "median" else mean
    gaps = np.isnan(mean)
    if gaps.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # entries without any member
            known = xy[:, gaps]
            over = np.nanmedian if avg_mode == "median" else np.nanmean
            average[gaps] = over(known, axis=0)
            variance[gaps] = np.nanvar(known, axis=0)
    return average, variance


def _median(xy: Float64) -> Float64:
    if len(xy) == 3:  # the usual ensemble; several times as fast as sorting
        low, high = np.minimum(xy[0], xy[1]), np.maximum(xy[0], xy[1])
        return np.asarray(np.maximum(low, np.minimum(high, xy[2])))
    return np.asarray(np.median(xy, axis=0))


def check_smoothed(values: FloatArray, names: Sequence[str], where: str = "") -> None:
    """Refuse (n_frames, n_keypoints, n) positions that a table would show as empty."""
    broken = ~np.isfinite(values).all(axis=2)
    if broken.any():
        frame, k = (int(i) for i in np.argwhere(broken)[0])
        n_frames = len(set(np.nonzero(broken)[0]))
        raise SmoothingError(
            f"the smoother gives no finite position of {names[k]}{where} for {n_frames} frames, "
            f"first for frame {frame}",
            hint="Check the members' tables there, and the calibration if there is one.",
        )
