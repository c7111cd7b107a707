"""EKS for one camera: each coordinate a random walk, seen with the ensemble's variance.

The model is that of `eks.singlecam_smoother` 4.6.2 (state transition and observation are the
identity, all covariances diagonal), so x and y of every keypoint are smoothed on their own. The
posterior mean then solves one tridiagonal system per coordinate, and the posterior variance
follows from its pivots from both ends; both in float64, by LAPACK, without `eks` or jax.

If no member has a position, there is no observation: the walk goes on through the gap and its
posterior variance grows. (`eks` gives NaN for every frame of such a keypoint.) A keypoint that is
never seen stays NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from raypose.config import EksOptions
from raypose.eks.ensemble import AVERAGE, POSTERIOR, VARIANCE
from raypose.eks.parameter import (
    CoordinateLikelihood,
    Float64,
    choose,
    frame_ranges,
    given_params,
    initial_guess,
)
from raypose.errors import CancelledError, SmoothingError
from raypose.tables.keypoints import KeypointTable

_MIN_VARIANCE = 1e-12  # px², as in eks
_MIN_PRIOR = 1e-9


def smooth_singlecam(
    ensemble: KeypointTable,
    options: EksOptions,
    on_progress: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    threads: int,
) -> dict[str, float]:
    """Fills the smoothed columns of an ensemble's table; gives each keypoint's parameter."""
    names = ensemble.keypoint_names
    groups = keypoint_groups(names, options.blocks)
    given = given_params(options, names)
    all_frames = [(0, ensemble.n_frames)]
    slices = [slice(*span) for span in frame_ranges(options, ensemble.n_frames) or all_frames]

    def smooth_group(group: list[int]) -> list[float]:
        if should_stop is not None and should_stop():
            raise CancelledError("smoothing was stopped")
        params = [given[k] for k in group] if given else [_chosen(ensemble, group, slices)]
        params *= len(group) // len(params)
        for k, param in zip(group, params, strict=True):
            _smooth_keypoint(ensemble, k, param)
        return params

    chosen: dict[int, float] = {}
    with ThreadPoolExecutor(threads) as pool:
        for group, params in zip(groups, pool.map(smooth_group, groups), strict=True):
            chosen |= zip(group, params, strict=True)
            if on_progress is not None:
                on_progress(ensemble.n_frames * len(chosen) // len(names))
    return {name: chosen[k] for k, name in enumerate(names)}


def smooth_by_themselves(
    table: KeypointTable, names: Sequence[str], options: EksOptions, threads: int
) -> dict[str, float]:
    """Smooths keypoints of no view and no pupil, to which their parameters do not apply."""
    if not names:
        return {}
    alone = table.select(names)
    plain = options.model_copy(update={"smooth_param": None, "blocks": ()})
    params = smooth_singlecam(alone, plain, threads=threads)
    table.values[:, [table.keypoint_names.index(name) for name in names]] = alone.values
    return params


def keypoint_groups(
    names: tuple[str, ...], all_blocks: Sequence[Sequence[str]]
) -> list[list[int]]:
    """Keypoints that share a parameter; each of those of no block is a group."""
    named = [name for block in all_blocks for name in block]
    unknown = [name for name in named if name not in names]
    if unknown or len(set(named)) < len(named):
        raise SmoothingError(
            f"blocks name {', '.join(unknown) or 'a keypoint twice'}",
            hint=f"The keypoints are {', '.join(names)}.",
        )
    blocks = [[names.index(name) for name in block] for block in all_blocks if block]
    return blocks + [[k] for k, name in enumerate(names) if name not in named]


def _chosen(ensemble: KeypointTable, group: list[int], slices: list[slice]) -> float:
    likelihoods, guesses = [], []
    for k in group:
        positions, variances = _observations(ensemble, k)
        guesses.append(initial_guess(ensemble.values[:, k, VARIANCE]))
        for c in range(2):
            known = positions[~np.isnan(positions[:, c]), c]
            centred = positions[:, c] - (float(known.mean()) if len(known) else np.nan)
            used = np.concatenate([centred[part] for part in slices])
            seen = ~np.isnan(used)
            if seen.any():
                noise = float(np.median(np.concatenate([variances[s, c] for s in slices])))
                prior = float(np.nanvar(centred))
                likelihoods.append(CoordinateLikelihood(used[seen], noise, prior))
    guess = sum(guesses) / len(guesses)
    return choose(likelihoods, guess) if likelihoods else guess


def _smooth_keypoint(ensemble: KeypointTable, k: int, param: float) -> None:
    positions, variances = _observations(ensemble, k)
    for c in range(2):
        mean, variance = smooth_walk(positions[:, c], variances[:, c], param)
        ensemble.values[:, k, c] = mean
        ensemble.values[:, k, POSTERIOR.start + c] = variance


def _observations(ensemble: KeypointTable, k: int) -> tuple[Float64, Float64]:
    positions = ensemble.values[:, k, AVERAGE].astype(np.float64)
    variances = ensemble.values[:, k, VARIANCE].astype(np.float64)
    return positions, np.maximum(variances, _MIN_VARIANCE)


def smooth_walk(positions: Float64, variances: Float64, s: float) -> tuple[Float64, Float64]:
    """Posterior mean and variance, (n_frames,), of a random walk whose steps have variance s.

    `positions` (n_frames,) are NaN where nothing was seen; `variances` are those of the
    observations. With the mean m of the observations and their variance S0, the walk starts at
    m ± √S0; the posterior precision times s is tridiagonal: s/R + 2 on the diagonal
    (s/R + 1 + s/S0 first, s/R + 1 last), −1 beside it.
    """
    from scipy.linalg.lapack import dpttrf, dpttrs

    n_frames = len(positions)
    seen = ~np.isnan(positions)
    if not seen.any():
        return np.full(n_frames, np.nan), np.full(n_frames, np.nan)
    level = positions[seen].mean()
    prior = max(float(positions[seen].var()), _MIN_PRIOR)
    weight = np.where(seen, s / variances, 0.0)
    diagonal = weight + 2.0
    diagonal[0] += s / prior - 1.0
    diagonal[-1] -= 1.0
    beside = np.full(max(n_frames - 1, 1), -1.0)

    forward, factor, _ = dpttrf(diagonal, beside)
    backward, _, _ = dpttrf(diagonal[::-1].copy(), beside)
    right = weight * np.where(seen, positions - level, 0.0)
    mean, _ = dpttrs(forward, factor, right)
    # 1 / (information from before + information from after − what both count).
    inverse = 1.0 / (forward + backward[::-1] - diagonal)
    return mean.reshape(n_frames) + level, s * inverse
