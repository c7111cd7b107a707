"""How an ensemble is smoothed; the same object from the command line to the smoother."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, WithJsonSchema, field_validator

from raypose.config.options import Checked, Option
from raypose.config.panels import ADVANCED, EKS
from raypose.config.schemas import Allowed
from raypose.config.types import (
    EMPTY,
    NOTHING,
    AtLeastThree,
    AtLeastTwo,
    Flag,
    Frame,
    Names,
    Percentage,
    Positive,
    Takes,
    comma_separated,
    distinct,
    split,
)

EksMode = Literal["auto", "singlecam", "mirrored", "multicam", "calibrated", "pupil"]
FrameRange = tuple[Frame | None, Frame | None]

_MODES = "singlecam for one video, auto for several views"


def _number_or_each(value: Any) -> Any:
    """`2.5`, or `nose=2.5,paw=4` as the command line writes it."""
    if not isinstance(value, str) or "=" not in value:
        return value
    pairs = [part.partition("=") for part in comma_separated(value)]
    each = [(name.strip(), number.strip()) for name, _, number in pairs]
    if not all(name and number for name, number in each):
        raise AssertionError  # `Allowed` says the rest
    distinct([name for name, _ in each])
    return dict(each)


def _ranges(value: Any) -> Any:
    """`0:500,1000:` as the command line writes it."""
    if not isinstance(value, str):
        return value
    pairs = [part.split(":") for part in comma_separated(value)]
    return tuple(tuple(edge.strip() or None for edge in pair) for pair in pairs)


def _groups(value: Any) -> Any:
    """Each group as `nose,paw` or as a list of names."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        return value
    return tuple(split(group) for group in value)


class EksOptions(Checked):
    """How an ensemble is smoothed; the defaults are those of the `eks` package."""

    mode: Annotated[EksMode | None, Option(EKS, ("--eks-mode",), _MODES)] = None
    """How views are smoothed together; auto chooses from the model's config, the views and the
    calibration."""
    smooth_param: Annotated[
        Takes[Positive | dict[str, Positive] | None, float | str | Mapping[str, float] | None],
        BeforeValidator(_number_or_each),
        Allowed("a number above 0, or one for each keypoint, as in nose=2.5,paw=4"),
        WithJsonSchema({"type": ["number", "object", "string", "null"], "exclusiveMinimum": 0}),
        Option(EKS, default="chosen by maximum likelihood", metavar="NUMBER"),
    ] = NOTHING
    """Smoothing parameter: the variance of a keypoint's step from frame to frame, in pixels
    squared; smaller values smooth more. One number, or one for each keypoint, as in
    nose=2.5,paw=4."""
    s_frames: Annotated[
        Takes[tuple[FrameRange, ...], str | Iterable[tuple[int | None, int | None]]],
        BeforeValidator(_ranges),
        Allowed("ranges of frames, as in 0:500,1000:"),
        WithJsonSchema({"type": ["string", "array"], "items": {"type": "array"}}),
        Option(ADVANCED, default="all", metavar="START:STOP"),
    ] = EMPTY
    """Frames from which the smoothing parameter is chosen, as in 0:500,1000:"""
    blocks: Annotated[
        Takes[tuple[tuple[str, ...], ...], Iterable[str | Iterable[str]]],
        BeforeValidator(_groups),
        Allowed("groups of keypoints, each as in nose,paw", "NAME,NAME"),
        WithJsonSchema({"type": "array", "items": {"type": ["string", "array"]}}),
        Option(ADVANCED, ("--block",), repeat=True),
    ] = EMPTY
    """Keypoints that share one smoothing parameter."""
    keypoints: Annotated[Names, Option(ADVANCED, ("--eks-keypoints",), default="all")] = EMPTY
    """Keypoints to smooth; the smoothed table has no others."""
    mirrored: Annotated[Names, Option(ADVANCED)] = EMPTY
    """Endings of the keypoints' names that distinguish mirrored views: with top,bot, paw_top and
    paw_bot are the same point."""
    avg_mode: Annotated[Literal["median", "mean"], Option(ADVANCED)] = "median"
    """How the members' predictions are averaged."""
    var_mode: Annotated[Literal["confidence_weighted_var", "var"], Option(ADVANCED)] = (
        "confidence_weighted_var"
    )
    """Variance of the members: divided by their mean likelihood, or as it is (var)."""
    inflate_vars: Annotated[Flag, Option(ADVANCED, ("--inflate-vars/--no-inflate-vars",))] = False
    """Several views: trust a prediction less where the other views contradict it."""
    quantile_keep_pca: Annotated[Percentage, Option(ADVANCED)] = 95.0
    """Several views: percentage of frames, those of least variance, that the PCA is fitted on."""
    n_latent: AtLeastThree = 3
    """Several views: dimensions of their common subspace."""
    min_members: Annotated[AtLeastTwo | None, Option(EKS, default="all")] = None
    """Smooth a recording if at least this many members can be used."""

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
