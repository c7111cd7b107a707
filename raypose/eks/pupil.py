"""EKS of a pupil, as the International Brain Laboratory uses it.

Four keypoints on the pupil's edge are explained by its diameter and its centre, each an
autoregressive process. The filter is `eks.ibl_pupil_smoother` (4.6.2). Its table is not used: it
swaps the names of the right and the bottom edge, and has posterior variances of other coordinates.
Other keypoints (tube, eyelids) are smoothed each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from raypose.config import EksOptions
from raypose.eks.ensemble import AVERAGE, POSTERIOR, VARIANCE, ensemble_table
from raypose.eks.parameter import PUPIL_PARAMS, Float64, frame_ranges, given_params
from raypose.eks.singlecam import smooth_by_themselves
from raypose.errors import SmoothingError
from raypose.tables.keypoints import KeypointTable

# The order that the filter's observations have.
PUPIL_KEYPOINTS = ("pupil_top_r", "pupil_bottom_r", "pupil_right_r", "pupil_left_r")
_NO_INFORMATION = 1e8  # px²: variance of a position that no member sees

# x and y of each keypoint from (diameter, x of the centre, y of the centre).
_OF_DIAMETER = [0.0, -0.5, 0.0, 0.5, 0.5, 0.0, -0.5, 0.0]
_OBSERVE = np.column_stack([_OF_DIAMETER, np.tile(np.eye(2), (4, 1))])


def smooth_pupil(
    members: list[KeypointTable], options: EksOptions, threads: int
) -> tuple[KeypointTable, dict[str, float]]:
    """Smooths the pupil's keypoints together and any others by themselves.

    The parameters are `diameter` and `center_of_mass`, and one for each other keypoint.
    """
    table = ensemble_table(members, options)
    names = table.keypoint_names
    pupil_columns(names)
    given = options.smooth_param
    if given is not None and not (
        isinstance(given, dict) and set(given) == set(PUPIL_PARAMS) and max(given.values()) < 1
    ):
        raise SmoothingError(
            f"smoothing a pupil takes two parameters between 0 and 1, {' and '.join(PUPIL_PARAMS)}"
        )
    others = [name for name in names if name not in PUPIL_KEYPOINTS]
    params = smooth_by_themselves(table, others, options, threads)
    return table, {**dict(zip(PUPIL_PARAMS, _smooth(table, options), strict=True)), **params}


def pupil_columns(names: Sequence[str]) -> list[int]:
    """The columns of the pupil's keypoints."""
    missing = [name for name in PUPIL_KEYPOINTS if name not in names]
    if missing:
        raise SmoothingError(f"smoothing a pupil needs the keypoints {', '.join(missing)}")
    return [names.index(name) for name in PUPIL_KEYPOINTS]


def _smooth(table: KeypointTable, options: EksOptions) -> tuple[float, float]:
    from eks.ibl_pupil_smoother import (
        get_pupil_diameter,
        get_pupil_location,
        run_pupil_kalman_smoother,
    )

    columns = pupil_columns(table.keypoint_names)
    seen = table.values[:, columns, AVERAGE].reshape(table.n_frames, 8).astype(np.float64)
    variances = table.values[:, columns, VARIANCE].reshape(table.n_frames, 8).astype(np.float64)
    positions = _bridged(seen)
    variances[np.isnan(seen)] = _NO_INFORMATION

    keys = [f"{name}_{axis}" for name in PUPIL_KEYPOINTS for axis in "xy"]
    tracks = dict(zip(keys, positions.T, strict=True))
    diameters, locations = get_pupil_diameter(tracks), get_pupil_location(tracks)
    level = locations.mean(axis=0)
    spread = [diameters.var(), *locations.var(axis=0)]
    import jax.numpy as jnp

    params, means, covariances = run_pupil_kalman_smoother(
        ys=jnp.asarray(positions - np.tile(level, 4)),
        m0=jnp.asarray([diameters.mean(), 0.0, 0.0]),
        S0=jnp.asarray(np.diag(spread)),
        C=jnp.asarray(_OBSERVE),
        ensemble_vars=variances.astype(np.float32),
        diameters_var=spread[0],
        x_var=spread[1],
        y_var=spread[2],
        s_frames=frame_ranges(options, table.n_frames),
        smooth_params=given_params(options, PUPIL_PARAMS),
    )
    smoothed = means @ _OBSERVE.T + np.tile(level, 4)
    posterior = np.einsum("cd,tde,ce->tc", _OBSERVE, covariances, _OBSERVE)
    table.values[:, columns, 0:2] = smoothed.reshape(-1, 4, 2)
    table.values[:, columns, POSTERIOR] = posterior.reshape(-1, 4, 2)
    return params[0], params[1]


def _bridged(positions: Float64) -> Float64:
    """Positions with gaps interpolated."""
    frames = np.arange(len(positions))
    filled: Float64 = positions.copy()
    for track in filled.T:
        known = ~np.isnan(track)
        if not known.any():
            raise SmoothingError("a keypoint of the pupil is never seen")
        track[:] = np.interp(frames, frames[known], track[known])
    return filled
