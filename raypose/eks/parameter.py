"""The smoothing parameter: as it is given, or for one camera chosen by maximum likelihood.

For the choice, the model is that of `eks` 4.6.2 for one camera: a coordinate is a random walk
whose steps have variance s, seen with a noise of constant variance R (the median of the ensemble's
variance), and its first position has variance S0 about the mean. `eks` runs a Kalman filter over
all frames for each value of s that it tries. Here the likelihood is exact and in float64, without
a filter: the random walk's precision matrix is diagonal in the discrete cosine basis except for a
correction of rank one (the prior on the first frame), so each value costs a few sums over
frequencies.

The search is that of `eks`: Adam with a step of 1 on log s, from the same start, stopped by the
same rule. With `eks` in float64 the values agree to five digits; in its usual float32, rounding
sometimes stops it some steps earlier or later, and its parameter is a few per cent off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from raypose.config import EksOptions
from raypose.errors import SmoothingError

PUPIL_PARAMS = ("diameter", "center_of_mass")
"""What the parameters of a pupil are called, instead of by keypoint."""

Float64 = npt.NDArray[np.float64]

LOG_S_BOUNDS = (-8.0, 8.0)
_MIN_NOISE = 1e-4  # px²
_MIN_PRIOR = 1e-9  # px²; a coordinate that never moves has no variance
_DEFAULT_GUESS = 2.0
_GUESS_FRAMES = 2000
_TOLERANCE = 1e-2
_MAX_STEPS = 300


def given_params(options: EksOptions, names: Sequence[str]) -> list[float] | None:
    """The smoothing parameter of each keypoint; None where it is to be chosen."""
    given = options.smooth_param
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return [float(given)] * len(names)
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if unknown or missing:
        what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise SmoothingError(
            f"smoothing parameters do not fit the keypoints ({what})",
            hint="Give one for each keypoint, or a single number for all of them.",
        )
    return [float(given[name]) for name in names]


def frame_ranges(options: EksOptions, n_frames: int) -> list[tuple[int, int]] | None:
    """The frames that parameters are chosen from, in order; None for all."""
    spans = sorted(
        (0 if start is None else start, n_frames if stop is None else stop)
        for start, stop in options.s_frames
    )
    end = 0
    for start, stop in spans:
        if not end <= start < stop <= n_frames:
            raise SmoothingError(
                f"frames {start} to {stop} can't be used to choose the smoothing parameter",
                hint=f"Give ranges within 0 to {n_frames} that do not overlap.",
            )
        end = stop
    return spans or None


def initial_guess(variances: npt.NDArray[np.float32]) -> float:
    """Where the search starts, as `eks.core.compute_initial_guesses`: the standard deviation of
    the changes from frame to frame of the ensemble's variances, (n_frames, 2)."""
    steps = np.diff(variances[:_GUESS_FRAMES], axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        guess = round(float(np.std(steps)), 5) if steps.size else 0.0
    return guess if math.isfinite(guess) and guess > 0 else _DEFAULT_GUESS


class CoordinateLikelihood:
    """Negative log-likelihood of one coordinate, as a function of log s.

    With a = s/R, ρ = s/S0, the path graph's Laplacian L = DᵀD (eigenvalues λ, eigenvectors the
    cosines φ) and g = (aI + L)⁻¹₀₀, h = ((aI + L)⁻¹y)₀:

        log det Σ = n log R + log S0 − log s + log det(aI + L) + log(1 + ρg)
        yᵀΣ⁻¹y   = (Σ c²λ/(a + λ) + aρh²/(1 + ρg)) / R,   c the cosine transform of y

    by the matrix determinant lemma and the formula of Sherman and Morrison.
    """

    def __init__(self, positions: Float64, noise: float, prior: float) -> None:
        """From positions (n_frames,) about the mean, R and S0."""
        from scipy.fft import dct

        self.n_frames = n = len(positions)
        self.noise, self.prior = max(noise, _MIN_NOISE), max(prior, _MIN_PRIOR)
        angles = np.arange(n) * (np.pi / (2 * n))
        self.eigenvalues = 4 * np.square(np.sin(angles))
        first = math.sqrt(2 / n) * np.cos(angles)
        first[0] = math.sqrt(1 / n)
        spectrum = dct(positions, type=2, norm="ortho")
        energies = np.square(spectrum) * self.eigenvalues
        # Rows c²λ, φ(0)c and φ(0)², over frequencies.
        self.sums = np.stack([energies, first * spectrum, np.square(first)])

    def __call__(self, log_s: float) -> tuple[float, float]:
        """The value, and its derivative by log s."""
        s = math.exp(log_s)
        a, rho = s / self.noise, s / self.prior
        weights = np.empty((2, self.n_frames))
        np.divide(1.0, self.eigenvalues + a, out=weights[0])
        np.square(weights[0], out=weights[1])
        (energy, d_energy), (h, d_h), (g, d_g) = (self.sums @ weights.T).tolist()
        d_energy, d_h, d_g = -a * d_energy, -a * d_h, -a * d_g

        log_det, d_log_det = _log_det_path(a, self.n_frames)
        shrink = 1 + rho * g
        d_log_shrink = rho * (g + d_g) / shrink
        start = a * rho * h * h / shrink
        d_start = 2 * start + 2 * a * rho * h * d_h / shrink - start * d_log_shrink
        constant = self.n_frames * math.log(2 * math.pi * self.noise) + math.log(self.prior)
        value = constant - log_s + log_det + math.log(shrink) + (energy + start) / self.noise
        slope = d_log_det - 1 + d_log_shrink + (d_energy + d_start) / self.noise
        return value / 2, slope / 2


def _log_det_path(a: float, n: int) -> tuple[float, float]:
    """log det(aI + L) of a path of n nodes, and its derivative by log a.

    The determinant is a·U(n−1, 1 + a/2), U the Chebyshev polynomial of the second kind, which is
    a·sinh(nθ)/sinh(θ) with cosh θ = 1 + a/2.
    """

    def log_sinh(z: float) -> float:
        return z + math.log(-math.expm1(-2 * z) / 2)

    theta = 2 * math.asinh(math.sqrt(a) / 2)
    value = math.log(a) + log_sinh(n * theta) - log_sinh(theta)
    bend = n / math.tanh(n * theta) - 1 / math.tanh(theta)
    return value, 1 + bend * a / (2 * math.sinh(theta))


def choose(likelihoods: Sequence[CoordinateLikelihood], guess: float) -> float:
    """The parameter that coordinates (of a keypoint, or of a block) share, found as `eks` does."""
    low, high = LOG_S_BOUNDS
    log_s = math.log(min(max(guess, 1e-6), 1e3))
    momentum = spread = 0.0
    previous = math.inf
    for step in range(1, _MAX_STEPS + 1):
        inside = min(max(log_s, low), high)
        values, slopes = zip(*(likelihood(inside) for likelihood in likelihoods), strict=True)
        value, slope = sum(values), sum(slopes) if low <= log_s <= high else 0.0
        momentum = 0.9 * momentum + 0.1 * slope
        spread = 0.999 * spread + 0.001 * slope * slope
        scale = math.sqrt(spread / (1 - 0.999**step))
        log_s -= momentum / (1 - 0.9**step) / (scale + 1e-8)
        threshold = _TOLERANCE * abs(math.log(max(previous, 1e-12))) + 1e-6
        if math.isfinite(previous) and abs(value - previous) < threshold:
            break
        previous = value
    return math.exp(min(max(log_s, low), high))
