"""What smoothing a recording gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from raypose.tables.keypoints import KeypointTable, PointTable


@dataclass(frozen=True, eq=False)
class SmoothResult:
    """A smoothed session of one view.

    Attributes:
        table: the nine columns of EKS, in pixels of the frame.
        smooth_params: the parameter that was used for each keypoint.
        mode: the one that was used: `singlecam`, `mirrored`, …
        reason: why this mode, as part of a sentence.
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
        points: with a calibration, the 3-D keypoints, in the calibration's unit of length.
        mode: `multicam` or `calibrated`.
        reason: why this mode, as part of a sentence.
        seconds: how long it took.
    """

    tables: dict[str, KeypointTable]
    smooth_params: dict[str, float]
    points: PointTable | None = None
    mode: str = "multicam"
    reason: str = ""
    seconds: float = 0.0
