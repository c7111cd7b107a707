"""What the user chooses of the smoother, and what smoothing gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from raypose.errors import SmoothingError
from raypose.tables.keypoints import KeypointTable, PointTable

MODES = ("auto", "singlecam", "mirrored", "multicam", "calibrated", "pupil")
_AVG_MODES = ("median", "mean")
_VAR_MODES = ("confidence_weighted_var", "var")

FrameRange = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class SmoothOptions:
    """How an ensemble is smoothed; the defaults are those of the `eks` command.

    Attributes:
        mode: `singlecam`, `mirrored` (views in one image), `multicam` (linear), `calibrated`
            (an Anipose calibration), `pupil` (IBL), or `auto`, which chooses from what there is.
        smooth_param: variance of a keypoint's step from frame to frame, in pixels squared (of a
            latent coordinate, for several views): one for all, or one a keypoint; None chooses
            it for each keypoint by maximum likelihood. Smaller values smooth more. For `pupil`
            the two of diameter and centre of mass, each in (0, 1).
        s_frames: ranges of frames, `(start, stop)` without `stop`, that the choice looks at;
            None for an open end; empty for all frames.
        blocks: groups of keypoints that share one parameter, by name.
        avg_mode: `median` or `mean` of the members.
        var_mode: `confidence_weighted_var` (variance over mean likelihood) or `var`.
        inflate_vars: several views: raise the variance of what disagrees with the other views.
        quantile_keep_pca: several views: percentage of frames, those of least variance, that the
            subspace is fitted on.
        n_latent: several views: dimensions of that subspace.
        min_members: members that must be usable.

    Raises:
        SmoothingError: a value is not one of those named.
    """

    mode: str = "auto"
    smooth_param: float | tuple[float, ...] | None = None
    s_frames: tuple[FrameRange, ...] = ()
    blocks: tuple[tuple[str, ...], ...] = ()
    avg_mode: str = "median"
    var_mode: str = "confidence_weighted_var"
    inflate_vars: bool = False
    quantile_keep_pca: float = 95.0
    n_latent: int = 3
    min_members: int = 2

    def __post_init__(self) -> None:
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("avg_mode", self.avg_mode, _AVG_MODES),
            ("var_mode", self.var_mode, _VAR_MODES),
        ):
            if value not in known:
                raise SmoothingError(
                    f"{name} {value!r} is not known", hint=f"Use one of {', '.join(known)}."
                )
        given = self.smooth_param
        values = () if given is None else given if isinstance(given, tuple) else (given,)
        if not all(value > 0 for value in values):
            raise SmoothingError("smoothing parameters must be above 0")
        if not 0 < self.quantile_keep_pca <= 100:
            raise SmoothingError("quantile_keep_pca must be above 0 and at most 100")
        if self.min_members < 2:
            raise SmoothingError("an ensemble needs two members or more")


@dataclass(frozen=True, eq=False)
class SmoothResult:
    """A smoothed session of one view.

    Attributes:
        table: the nine columns of EKS, in pixels of the frame.
        smooth_params: the parameter that was used for each keypoint.
        mode: what was done: `singlecam`, `mirrored`, …
        reason: why this mode, in a sentence's part.
        seconds: how long it took.
    """

    table: KeypointTable
    smooth_params: dict[str, float] = field(default_factory=dict)
    mode: str = "singlecam"
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class ViewsResult:
    """A smoothed session of several cameras.

    Attributes:
        tables: for each view the nine columns of EKS, in pixels of that view's frames.
        smooth_params: the parameter that was used for each keypoint.
        points: with a calibration, the keypoints in space, in the calibration's unit of length.
        mode: `multicam` or `calibrated`.
        reason: why this mode, in a sentence's part.
        seconds: how long it took.
    """

    tables: dict[str, KeypointTable]
    smooth_params: dict[str, float]
    points: PointTable | None = None
    mode: str = "multicam"
    reason: str = ""
    seconds: float = 0.0


def frame_slices(ranges: tuple[FrameRange, ...], n_frames: int) -> list[slice]:
    """The ranges of frames in order, checked; all frames where there are none.

    Raises:
        SmoothingError: a range is empty, overlaps another or lies outside the video.
    """
    spans = sorted(
        (0 if start is None else start, n_frames if stop is None else stop)
        for start, stop in ranges
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
