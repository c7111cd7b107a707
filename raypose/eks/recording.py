"""One recording smoothed: check the members, choose the mode, call the smoother of that mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raypose.config import EksOptions
from raypose.eks.ensemble import AVERAGE, check_finite, check_smoothed, ensemble_table
from raypose.eks.parameter import PUPIL_PARAMS, given_params
from raypose.eks.pupil import PUPIL_KEYPOINTS, pupil_columns, smooth_pupil
from raypose.eks.singlecam import keypoint_groups, smooth_singlecam
from raypose.eks.views import smooth_mirrored_views, smooth_separate_views
from raypose.errors import CancelledError, SmoothingError
from raypose.specs import ModelSpec
from raypose.tables.keypoints import KeypointTable, PointTable

Progress = Callable[[int], None] | None
Stop = Callable[[], bool] | None


@dataclass(frozen=True, eq=False)
class SmoothResult:
    """A smoothed recording."""

    tables: dict[str, KeypointTable]  # for each view EKS's nine columns, in pixels of its frames
    smooth_params: dict[str, float]  # the parameter that was used for each keypoint
    mode: str  # the one that was used: `singlecam`, `mirrored`, …
    reason: str  # why this mode, as part of a sentence
    points: PointTable | None = None  # with a calibration, in the calibration's unit of length


def smooth_recording(
    members: Mapping[str, Mapping[str, KeypointTable]],
    options: EksOptions,
    *,
    mirrored: Sequence[Sequence[str]] = (),
    calibration: str = "",
    threads: int = 1,
    on_progress: Progress = None,
    should_stop: Stop = None,
) -> SmoothResult:
    """Smooths a recording of one view or of several.

    Without a mode, one video is smoothed as one camera, as the Pose-app does it, and several
    views together.

    Args:
        members: for each view the members' tables, from `fitting_members`.
        mirrored: keypoints of each mirrored view, matched by position (see `mirrored_views`);
            the mode `mirrored` needs them, and `auto` takes it where they are given.
        calibration: path of the cameras' calibration; empty where there is none.
        threads: how many smooth keypoints of a single camera; jax takes its own besides.
        on_progress: called with the frames done so far.

    Raises:
        SmoothingError: options and calibration do not fit the members.
        CancelledError: `should_stop` said so.
    """
    path, several = Path(calibration) if calibration else None, len(members) > 1
    names = next(iter(next(iter(members.values())).values())).keypoint_names
    by_suffix = options.mirrored and not several and options.mode in (None, "auto", "mirrored")
    if by_suffix and not mirrored:
        mirrored = views_by_suffix(names, options.mirrored)
    mode, reason = check_mode(options.mode, names, bool(mirrored), several, path)
    if not (options.mode or several or mirrored):
        mode, reason = "singlecam", "one video"
    views = {view: list(tables.values()) for view, tables in members.items()}
    for view, of_view in views.items():
        check_finite(of_view, f"view {view}: " if several else "")
    if should_stop is not None and should_stop():
        raise CancelledError("smoothing was stopped")
    tables, params, points = _smoothed(
        mode, views, options, mirrored, path, threads, on_progress, should_stop
    )
    if on_progress is not None and mode != "singlecam":
        on_progress(next(iter(tables.values())).n_frames)
    return SmoothResult(tables, params, mode, reason, points)


def _smoothed(
    mode: str,
    views: dict[str, list[KeypointTable]],
    options: EksOptions,
    mirrored: Sequence[Sequence[str]],
    calibration: Path | None,
    threads: int,
    on_progress: Progress,
    should_stop: Stop,
) -> tuple[dict[str, KeypointTable], dict[str, float], PointTable | None]:
    """The table of each view, the parameters, and with a calibration the 3-D keypoints."""
    if mode in ("multicam", "calibrated"):
        cameras = calibration if mode == "calibrated" else None
        return smooth_separate_views(views, options, cameras)
    (view, members), *others = views.items()
    if mode == "mirrored":
        table, params = smooth_mirrored_views(members, mirrored, options, threads)
    elif mode == "pupil":
        table, params = smooth_pupil(members, options, threads)
    elif not others:
        table = ensemble_table(members, options)
        params = smooth_singlecam(table, options, on_progress, should_stop, threads=threads)
    else:  # the views one by one
        tables, params = {}, {}
        for view, members in views.items():
            tables[view] = ensemble_table(members, options)
            chosen = smooth_singlecam(tables[view], options, None, should_stop, threads=threads)
            _check_seen(tables[view], f" in view {view}")
            params |= {f"{name} ({view})": param for name, param in chosen.items()}
        return tables, params, None
    _check_seen(table)
    return {view: table}, params, None


def check_names(options: EksOptions, names: Sequence[str]) -> None:
    """Check that options name the keypoints that are to be smoothed, before there are tables."""
    given = options.smooth_param
    by_keypoint = not isinstance(given, Mapping) or set(given) != set(PUPIL_PARAMS)
    given_params(options, names if by_keypoint else PUPIL_PARAMS)
    keypoint_groups(tuple(names), options.blocks)
    if options.mode == "pupil":
        pupil_columns(names)


def check_mode(
    mode: str | None, names: Sequence[str], mirrored: bool, several: bool, calibration: Path | None
) -> tuple[str, str]:
    """The mode in which a recording is smoothed, and why, as part of a sentence.

    Args:
        mode: the one that is asked for; None and `auto` leave the choice to this function.
        names: the keypoints that are to be smoothed.
        mirrored: whether its views are known to be mirrored ones.
        several: whether it has several videos.

    Raises:
        SmoothingError: the mode does not fit the recording.
    """
    if several:
        if mode in ("mirrored", "pupil"):
            raise SmoothingError(f"mode {mode} is for one video", hint="Use --eks-mode auto.")
        if mode == "calibrated" and calibration is None:
            raise SmoothingError("there is no calibration", hint="Give one with --calibration.")
        chosen = ("multicam", "several views without a calibration")
        if calibration is not None:
            chosen = ("calibrated", f"calibration {calibration.name}")
    else:
        if mode in ("multicam", "calibrated"):
            raise SmoothingError(
                f"mode {mode} is for several views, and this session has one video",
                hint="Use --eks-mode auto.",
            )
        if mode == "mirrored" and not mirrored:
            raise SmoothingError(
                "mirrored views are not known",
                hint="Name mirrored_column_matches in the config, or the views' suffixes.",
            )
        chosen = ("singlecam", "one view")
        if mirrored:
            chosen = ("mirrored", "its keypoints are of mirrored views")
        elif set(PUPIL_KEYPOINTS) <= set(names):
            chosen = ("pupil", "the keypoints are those of IBL's pupil")
    return chosen if mode in (None, "auto") else (mode, "asked for")


def mirrored_views(spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """The mirrored views that a model's config names, by keypoint; empty where it names none."""
    data = spec.config.get("data") or {}
    matches = data.get("mirrored_column_matches") or ()
    if len(spec.view_names) > 1 or not all(isinstance(view, Sequence) for view in matches):
        return ()
    return tuple(tuple(spec.keypoint_names[k] for k in view) for view in matches)


def views_by_suffix(names: Sequence[str], suffixes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Mirrored views by the last part of the keypoints' names (`paw_top`, `paw_bot`).

    Only body parts that every view has are matched; a SmoothingError if there are none.
    """
    end, known = f"_{suffixes[0]}", set(names)
    parts = [name.removesuffix(end) for name in names if name.endswith(end)]
    parts = [part for part in parts if known.issuperset(f"{part}_{end}" for end in suffixes)]
    if not parts:
        raise SmoothingError(
            f"no keypoint comes with all of the suffixes {', '.join(suffixes)}",
            hint=f"The keypoints are {', '.join(names)}.",
        )
    return tuple(tuple(f"{part}_{suffix}" for part in parts) for suffix in suffixes)


def _check_seen(table: KeypointTable, where: str = "") -> None:
    """A keypoint that a member saw at all has a smoothed position in every frame."""
    unseen = np.isnan(table.values[..., AVERAGE]).all(axis=(0, 2))
    columns = np.flatnonzero(~unseen)
    check_smoothed(table.xy[:, columns], [table.keypoint_names[k] for k in columns], where)
