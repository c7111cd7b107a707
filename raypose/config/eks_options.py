"""How an ensemble is smoothed, as the command line, a file or a notebook asks for it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from raypose.config.schemas import Allowed
from raypose.config.types import (
    AtLeastThree,
    AtLeastTwo,
    Flag,
    Frame,
    Names,
    Percentage,
    Positive,
    parts_of,
    split,
)

EksMode = Literal["auto", "singlecam", "mirrored", "multicam", "calibrated", "pupil"]


def _number_or_each(value: Any) -> Any:
    """`2.5`, or `nose=2.5,paw=4` as the command line writes it."""
    if not isinstance(value, str) or "=" not in value:
        return value
    pairs = [part.partition("=") for part in parts_of(value)]
    names = [name.strip() for name, _, _ in pairs]
    if not all(names) or not all(number.strip() for _, _, number in pairs):
        raise AssertionError  # `Allowed` says the rest
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice")
    return {name: number.strip() for name, (_, _, number) in zip(names, pairs, strict=True)}


def _ranges(value: Any) -> Any:
    """`0:500,1000:` as the command line writes it."""
    if not isinstance(value, str):
        return value
    pairs = [part.split(":") for part in parts_of(value)]
    return tuple(tuple(edge.strip() or None for edge in pair) for pair in pairs)


def _groups(value: Any) -> Any:
    """Each group as `nose,paw` or as a list of names."""
    return [split(group) for group in value] if isinstance(value, list | tuple) else value


FrameRange = tuple[Frame | None, Frame | None]


class EksOptions(BaseModel):
    """How an ensemble is smoothed; the defaults are those of the `eks` package."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: EksMode | None = Field(
        default=None,
        description="What of a recording is smoothed together; without it one video as one "
        "camera, and several views together.",
    )
    smooth_param: Annotated[
        Positive | dict[str, Positive] | None,
        BeforeValidator(_number_or_each),
        Allowed("a number above 0, or one for each keypoint, as in nose=2.5,paw=4"),
    ] = Field(
        default=None,
        description="Variance of a step from frame to frame in pixels squared: a number, or one "
        "for each keypoint; chosen by maximum likelihood if absent. Smaller values smooth more.",
    )
    s_frames: Annotated[
        tuple[FrameRange, ...],
        BeforeValidator(_ranges),
        Allowed("ranges of frames, as in 0:500,1000:"),
    ] = Field(default=(), description="Ranges of frames that the choice looks at; all if absent.")
    blocks: Annotated[
        tuple[tuple[str, ...], ...],
        BeforeValidator(_groups),
        Allowed("groups of keypoints, each as in nose,paw"),
    ] = Field(default=(), description="Groups of keypoints that share a smoothing parameter.")
    keypoints: Names = Field(default=(), description="Keypoints to smooth; else all.")
    mirrored: Names = Field(
        default=(), description="Last parts of the keypoints' names that tell mirrored views."
    )
    avg_mode: Literal["median", "mean"] = "median"
    var_mode: Literal["confidence_weighted_var", "var"] = "confidence_weighted_var"
    inflate_vars: Flag = Field(
        default=False, description="Weigh less what disagrees with the other views."
    )
    quantile_keep_pca: Percentage = Field(
        default=95.0, description="Percentage of frames that the views' PCA takes."
    )
    n_latent: AtLeastThree = Field(default=3, description="Dimensions of the views' subspace.")
    min_members: AtLeastTwo | None = Field(
        default=None, description="Members that are enough; all of them if absent."
    )

    @property
    def takes_calibration(self) -> bool:
        """Whether several views are smoothed through their calibration, where there is one."""
        return self.mode in (None, "auto", "calibrated")

    @field_validator("s_frames")
    @classmethod
    def _not_empty(cls, value: tuple[FrameRange, ...]) -> tuple[FrameRange, ...]:
        for start, stop in value:
            if stop is not None and stop <= (start or 0):
                raise ValueError(f"{start or 0}:{stop} holds no frame")
        return value
