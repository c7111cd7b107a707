"""Options of the smoother, as they apply to the keypoints and frames of one recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raypose.config import EksOptions
from raypose.errors import SmoothingError

PUPIL_PARAMS = ("diameter", "center_of_mass")
"""What the parameters of a pupil are called, instead of by keypoint."""


def given_params(options: EksOptions, names: Sequence[str]) -> list[float] | None:
    """The smoothing parameter of each keypoint; None where it is to be chosen.

    Raises:
        SmoothingError: it is given for keypoints that do not exist, or not for all.
    """
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


def without_params(options: EksOptions) -> EksOptions:
    """Options for keypoints of no view and no pupil, to which their parameters do not apply."""
    return options.model_copy(update={"smooth_param": None, "blocks": ()})


def frame_slices(options: EksOptions, n_frames: int) -> list[slice]:
    """The frames that parameters are chosen from, as ranges in order.

    Raises:
        SmoothingError: a range is empty, overlaps another or lies outside the video.
    """
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
    return [slice(start, stop) for start, stop in spans] or [slice(0, n_frames)]
