"""EKS over several views of one scene: mirrors in one image, or several cameras.

A keypoint's positions in all views are explained by a latent position of three dimensions: in the
subspace that a PCA finds (linear), or in 3-D (with an Anipose calibration).
`eks.multicam_smoother` (4.6.2) does the work in memory, in its float32; views go in as arrays in a
known order, never matched by names in file names.

Where `eks` would fail or give NaN for the whole video, its input is repaired: a frame in which no
member sees a keypoint gets positions between its neighbours, with a variance that tells the
smoother nothing. Not repaired: with a calibration, the library adds the first camera's ensemble
variance to the posterior variances of all cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.config import EksOptions
from raypose.eks.calibration import usable_cameras
from raypose.eks.ensemble import AVERAGE, VARIANCE, check_smoothed, ensemble_table
from raypose.eks.parameter import Float64, frame_ranges, given_params
from raypose.eks.singlecam import smooth_by_themselves
from raypose.errors import SmoothingError
from raypose.tables.keypoints import FloatArray, KeypointTable, PointTable

# Members are put this far apart, in pixels, where none sees a keypoint.
_UNSEEN_SPREAD = 1000.0


def smooth_separate_views(
    members: dict[str, list[KeypointTable]], options: EksOptions, calibration: Path | None = None
) -> tuple[dict[str, KeypointTable], dict[str, float], PointTable | None]:
    """Smooths the same keypoints seen by several cameras, without a calibration linearly.

    Returns the table of each view, the parameter of each keypoint, and with a calibration the 3-D
    keypoints.
    """
    views, cameras = list(members), None
    if calibration is not None:
        from aniposelib.cameras import CameraGroup

        usable = usable_cameras(calibration, views)
        cameras = CameraGroup.from_dicts([camera.model_dump() for camera in usable])
        views = [camera.name for camera in usable]
    tables = {view: ensemble_table(members[view], options) for view in views}
    names = tables[views[0]].keypoint_names
    data = np.stack([np.stack([m.values for m in members[view]]) for view in views], axis=1)
    values, params, points = _run_eks(data.astype(np.float64), names, views, options, cameras)
    for v, view in enumerate(views):
        _fill(tables[view], list(range(len(names))), values[v])
    smoothed = {view: tables[view] for view in members}
    points_3d = None if cameras is None else PointTable(names, points)
    return smoothed, dict(zip(names, params, strict=True)), points_3d


def smooth_mirrored_views(
    members: list[KeypointTable],
    views: Sequence[Sequence[str]],
    options: EksOptions,
    threads: int,
) -> tuple[KeypointTable, dict[str, float]]:
    """Smooths views that mirrors bring into one image: their keypoints, matched by position.

    Keypoints of no view are smoothed each by itself.
    """
    table = ensemble_table(members, options)
    names = table.keypoint_names
    columns = _columns(names, views)
    data = np.stack([member.values for member in members]).astype(np.float64)
    matched = np.stack([data[:, :, view] for view in columns], axis=1)
    rest = [name for name in names if not any(name in view for view in views)]
    params = smooth_by_themselves(table, rest, options, threads)
    view_names = [f"view{v}" for v in range(len(views))]
    values, chosen, _ = _run_eks(matched, views[0], view_names, options, None)
    for v, view in enumerate(columns):
        _fill(table, view, values[v])
        params |= {names[k]: param for k, param in zip(view, chosen, strict=True)}
    return table, {name: params[name] for name in names}


def _columns(names: Sequence[str], views: Sequence[Sequence[str]]) -> list[list[int]]:
    flat = [name for view in views for name in view]
    unknown = [name for name in flat if name not in names]
    if unknown:
        raise SmoothingError(f"views name unknown keypoints: {', '.join(unknown)}")
    if len(views) < 2 or len({len(view) for view in views}) != 1 or len(set(flat)) < len(flat):
        raise SmoothingError(
            "mirrored views must be two or more, of equally many keypoints, each named once"
        )
    return [[names.index(name) for name in view] for view in views]


def _run_eks(
    data: Float64, names: Sequence[str], views: Sequence[str], options: EksOptions, cameras: Any
) -> tuple[FloatArray, list[float], FloatArray]:
    """Calls `eks` on data of shape (members, views, frames, keypoints, 3).

    Returns:
        values of shape (views, frames, keypoints, 9), one parameter per keypoint, and the latent
        positions and variances of shape (frames, keypoints, 6).
    """
    _check(data, names, views, options)
    from eks.marker_array import MarkerArray
    from eks.multicam_smoother import ensemble_kalman_smoother_multicam

    given = options.smooth_param
    frames, params, latent = ensemble_kalman_smoother_multicam(
        MarkerArray(_without_gaps(data), data_fields=["x", "y", "likelihood"]),
        keypoint_names=list(names),
        camera_names=list(views),
        smooth_param=given_params(options, names) if isinstance(given, dict) else given,
        quantile_keep_pca=options.quantile_keep_pca,
        s_frames=frame_ranges(options, data.shape[2]),
        avg_mode=options.avg_mode,
        var_mode=options.var_mode,
        inflate_vars=options.inflate_vars,
        inflate_vars_kwargs={},
        n_latent=options.n_latent,
        camgroup=cameras,
    )
    shape = (data.shape[2], len(names), -1)
    values = np.stack([frame.to_numpy(np.float32).reshape(shape) for frame in frames])
    for v, view in enumerate(views):
        check_smoothed(values[v][..., :2], names, f" in view {view}")
    points = latent.to_numpy(np.float32).reshape(shape)
    if cameras is not None:
        check_smoothed(points, names, " in 3-D")
    return values, [float(p) for p in params], points


def _check(data: Float64, names: Sequence[str], views: Sequence[str], options: EksOptions) -> None:
    given_params(options, names)
    if options.blocks:
        raise SmoothingError("blocks are for single-camera smoothing only")
    if options.n_latent > 2 * len(views):
        raise SmoothingError(f"n_latent must be 3 to {2 * len(views)} with {len(views)} views")
    if data.shape[2] <= 2 * len(views):
        raise SmoothingError(f"{data.shape[2]} frames are too few to relate {len(views)} views")
    # As `eks` chooses them: frames whose variance is at most the percentile.
    n_kept = 1 + int((data.shape[2] - 1) * options.quantile_keep_pca / 100)
    if n_kept <= options.n_latent:
        raise SmoothingError(
            f"--quantile-keep-pca {options.quantile_keep_pca:g} keeps {n_kept} of "
            f"{data.shape[2]} frames, too few to relate {len(views)} views",
            hint="Leave it out, which keeps 95 percent, or give a higher percentage.",
        )
    for k, v in np.argwhere(np.isnan(data[..., 0]).all(axis=(0, 2)).T):
        raise SmoothingError(
            f"keypoint {names[k]} is never seen in view {views[v]}",
            hint="Smooth the views one by one with --eks-mode singlecam.",
        )


def _without_gaps(data: Float64) -> Float64:
    """A copy with positions everywhere, from the other members, or from the frames nearby.

    Where all lack a keypoint, members are spread so widely that it weighs nothing.
    """
    data = data.copy()
    spread = np.linspace(-_UNSEEN_SPREAD, _UNSEEN_SPREAD, len(data))
    gaps = np.isnan(data[..., :2]).any(axis=(0, 4))  # (views, frames, keypoints)
    for v, k in {(int(v), int(k)) for v, _, k in np.argwhere(gaps)}:
        track = data[:, v, :, k]
        seen: npt.NDArray[np.bool_] = ~np.isnan(track[..., 0] + track[..., 1])  # (members, frames)
        some = seen.any(axis=0)
        sums = np.where(seen[..., None], track[..., :2], 0.0).sum(axis=0)
        frames = np.arange(data.shape[2])
        for c in range(2):
            mean = np.interp(frames, frames[some], sums[some, c] / seen[:, some].sum(axis=0))
            track[..., c] = np.where(seen, track[..., c], mean)
            track[:, ~some, c] = mean[~some] + spread[:, None]
        likelihood = np.where(seen, track[..., 2], 0.0).sum(axis=0) / np.maximum(seen.sum(0), 1)
        track[..., 2] = np.where(some, np.where(seen, track[..., 2], likelihood), 1.0)
    return data


def _fill(table: KeypointTable, columns: list[int], values: FloatArray) -> None:
    """Put smoothed positions and variances into an ensemble's table, whose own columns stay.

    The ensemble's variance is the library's (which may have inflated it), except where no member
    saw the keypoint.
    """
    unseen = np.isnan(table.values[:, columns, AVERAGE]).any(axis=2)
    kept = table.values[:, columns, 2:7]
    merged = values.copy()
    merged[..., 2:5] = kept[..., 0:3]
    merged[unseen, VARIANCE] = kept[unseen, 3:5]
    table.values[:, columns] = merged
