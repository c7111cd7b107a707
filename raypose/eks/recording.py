"""One session smoothed: checks the members, chooses the mode, calls the smoother of that mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raypose.eks.ensemble import AVERAGE, aligned, check_smoothed, ensemble_table
from raypose.eks.options import SmoothOptions, SmoothResult, ViewsResult
from raypose.eks.pupil import (
    PUPIL_KEYPOINTS,
    PUPIL_PARAMS,
    pupil_columns,
    smooth_pupil,
)
from raypose.eks.singlecam import keypoint_groups, smooth_singlecam
from raypose.eks.views import Calibration, smooth_mirrored_views, smooth_separate_views
from raypose.errors import CancelledError, SmoothingError
from raypose.specs import ModelSpec
from raypose.tables.keypoints import KeypointTable

Progress = Callable[[int], None] | None
Stop = Callable[[], bool] | None


def smooth_recording(
    members: Mapping[str, Mapping[str, KeypointTable]],
    options: Mapping[str, Any],
    *,
    mirrored: Sequence[Sequence[str]] = (),
    calibration: str = "",
    on_progress: Progress = None,
    should_stop: Stop = None,
) -> ViewsResult:
    """Smooths a recording of one view or of several, with the options of the command line.

    Without a mode, one video is smoothed as one camera, as the Pose-app does it, and several
    views together.

    Args:
        members: for each view the members' tables, from `fitting_members`.
        options: the fields of `EksOptions`.
        mirrored: as in `smooth_session`.
        calibration: path of the cameras' calibration; empty where there is none.
        on_progress: called with the frames done so far.
        should_stop: asked now and then.

    Raises:
        SmoothingError: members, options and calibration do not fit.
        CancelledError: `should_stop` said so.
    """
    views = {view: list(tables.values()) for view, tables in members.items()}
    (first, *_), *others = views.values()
    mode = options["mode"]
    if options["mirrored"] and not (mirrored or others) and mode in (None, "auto", "mirrored"):
        mirrored = views_by_suffix(first.keypoint_names, options["mirrored"])
    chosen = SmoothOptions(
        mode=mode or ("auto" if others or mirrored else "singlecam"),
        smooth_param=_param_of_each(options["smooth_param"], first.keypoint_names),
        s_frames=tuple(options["s_frames"]),
        blocks=tuple(options["blocks"]),
        avg_mode=options["avg_mode"],
        var_mode=options["var_mode"],
        inflate_vars=options["inflate_vars"],
        quantile_keep_pca=options["quantile_keep_pca"],
        n_latent=options["n_latent"],
    )
    if others:
        return smooth_views(
            views,
            chosen,
            calibration=Path(calibration) if calibration else None,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    ((view, tables),) = views.items()
    result = smooth_session(
        tables, chosen, mirrored=mirrored, on_progress=on_progress, should_stop=should_stop
    )
    reason = result.reason if mode or mirrored else "one video"
    return ViewsResult(
        {view: result.table}, result.smooth_params, None, result.mode, reason, result.seconds
    )


def check_names(options: Mapping[str, Any], names: Sequence[str]) -> None:
    """Whether options fit the keypoints, before there are any tables.

    Args:
        options: as of `smooth_recording`.
        names: the keypoints that are to be smoothed.

    Raises:
        SmoothingError: they name keypoints that there are not, or not all.
    """
    _param_of_each(options["smooth_param"], names)
    keypoint_groups(tuple(names), options["blocks"])
    if options["mode"] == "pupil":
        pupil_columns(names)


def check_mode(
    mode: str | None,
    names: Sequence[str],
    mirrored: bool,
    several: bool,
    calibration: Path | None,
) -> None:
    """Whether a mode fits a recording, before there are any tables.

    Args:
        mode: as of `smooth_recording`.
        names: the keypoints that are to be smoothed.
        mirrored: whether its views are known to be mirrored ones.
        several: whether it has several videos.
        calibration: of its cameras.

    Raises:
        SmoothingError: it does not fit.
    """
    if several:
        _mode_of_many(mode or "auto", calibration)
    else:
        _mode_of_one(mode or "auto", names, mirrored)


def _param_of_each(
    given: float | Mapping[str, float] | None, names: Sequence[str]
) -> float | tuple[float, ...] | None:
    """The smoothing parameter of each keypoint, where they are given by name."""
    if not isinstance(given, Mapping):
        return given
    if set(given) == set(PUPIL_PARAMS):
        names = PUPIL_PARAMS
    unknown = [name for name in given if name not in names]
    lacking = [name for name in names if name not in given]
    if unknown or lacking:
        what = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(lacking)}"
        raise SmoothingError(
            f"smoothing parameters do not fit the keypoints ({what})",
            hint="Give one for each keypoint, or a single number for all of them.",
        )
    return tuple(given[name] for name in names)


def smooth_session(
    members: Sequence[KeypointTable],
    options: SmoothOptions | None = None,
    *,
    mirrored: Sequence[Sequence[str]] = (),
    on_progress: Progress = None,
    should_stop: Stop = None,
) -> SmoothResult:
    """Smooths the members' predictions of one video.

    Args:
        members: one table a member, of the same frames and keypoints (in any order).
        options: of the smoother.
        mirrored: keypoints of each mirrored view, matched by position (see `mirrored_views`);
            the mode `mirrored` needs them, and `auto` takes it where they are given.
        on_progress: called with the frames done so far.
        should_stop: asked now and then.

    Raises:
        SmoothingError: the members do not fit each other or the options.
        CancelledError: `should_stop` said so.
    """
    started = time.perf_counter()
    options = options or SmoothOptions()
    usable = aligned(members, options.min_members)
    _stop_if(should_stop)
    mode, reason = _mode_of_one(options.mode, usable[0].keypoint_names, bool(mirrored))
    if mode == "mirrored":
        table, params = smooth_mirrored_views(usable, mirrored, options)
    elif mode == "pupil":
        table, params = smooth_pupil(usable, options)
    else:
        table = ensemble_table(usable, options)
        params = smooth_singlecam(table, options, on_progress, should_stop)
    _check_seen(table)
    if on_progress is not None and mode != "singlecam":
        on_progress(table.n_frames)
    return SmoothResult(table, params, mode, reason, time.perf_counter() - started)


def smooth_views(
    members: Mapping[str, Sequence[KeypointTable]],
    options: SmoothOptions | None = None,
    *,
    calibration: Path | None = None,
    on_progress: Progress = None,
    should_stop: Stop = None,
) -> ViewsResult:
    """Smooths the members' predictions of one recording by several cameras.

    Args:
        members: for each view one table a member, members in the same order in every view.
        options: of the smoother.
        calibration: Anipose's `calibration.toml`, whose cameras have the names of the views.
        on_progress: called with the frames done so far.
        should_stop: asked now and then.

    Raises:
        SmoothingError: views or members do not fit each other, the options or the calibration.
        CancelledError: `should_stop` said so.
    """
    started = time.perf_counter()
    options = options or SmoothOptions()
    mode, reason = _mode_of_many(options.mode, calibration)
    usable = _aligned_views(members, options)
    _stop_if(should_stop)
    if mode == "singlecam":
        return _one_by_one(usable, options, reason, started)
    cameras = None
    if mode == "calibrated" and calibration is not None:
        cameras = Calibration.load(calibration, tuple(usable))
    tables, params, points = smooth_separate_views(usable, options, cameras)
    if on_progress is not None:
        on_progress(next(iter(tables.values())).n_frames)
    return ViewsResult(tables, params, points, mode, reason, time.perf_counter() - started)


def mirrored_views(spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    """The mirrored views that a model's config names, by keypoint; empty where it names none."""
    data = spec.config.get("data") or {}
    matches = data.get("mirrored_column_matches") or ()
    if len(spec.view_names) > 1 or not all(isinstance(view, Sequence) for view in matches):
        return ()
    return tuple(tuple(spec.keypoint_names[k] for k in view) for view in matches)


def views_by_suffix(names: Sequence[str], suffixes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Mirrored views by the last part of the keypoints' names (`paw_top`, `paw_bot`).

    Only body parts that every view has are matched.

    Raises:
        SmoothingError: no body part has all suffixes.
    """
    parts = [
        name.removesuffix(f"_{suffixes[0]}") for name in names if name.endswith(f"_{suffixes[0]}")
    ]
    known = set(names)
    parts = [part for part in parts if all(f"{part}_{suffix}" in known for suffix in suffixes)]
    if not parts:
        raise SmoothingError(
            f"no keypoint comes with all of the suffixes {', '.join(suffixes)}",
            hint=f"The keypoints are {', '.join(names)}.",
        )
    return tuple(tuple(f"{part}_{suffix}" for part in parts) for suffix in suffixes)


def _mode_of_one(mode: str, names: Sequence[str], mirrored: bool) -> tuple[str, str]:
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
    if mode != "auto":
        return mode, "asked for"
    if mirrored:
        return "mirrored", "its keypoints are of mirrored views"
    if all(name in names for name in PUPIL_KEYPOINTS):
        return "pupil", "the keypoints are those of IBL's pupil"
    return "singlecam", "one view"


def _mode_of_many(mode: str, calibration: Path | None) -> tuple[str, str]:
    if mode in ("mirrored", "pupil"):
        raise SmoothingError(f"mode {mode} is for one video", hint="Use --eks-mode auto.")
    if mode == "calibrated" and calibration is None:
        raise SmoothingError("there is no calibration", hint="Give one with --calibration.")
    if mode != "auto":
        return mode, "asked for"
    if calibration is not None:
        return "calibrated", f"calibration {calibration.name}"
    return "multicam", "several views without a calibration"


def _aligned_views(
    members: Mapping[str, Sequence[KeypointTable]], options: SmoothOptions
) -> dict[str, list[KeypointTable]]:
    if len(members) < 2:
        raise SmoothingError("smoothing over views needs two views or more")
    usable: dict[str, list[KeypointTable]] = {}
    for view, tables in members.items():
        try:
            usable[view] = aligned(tables, options.min_members)
        except SmoothingError as error:
            raise SmoothingError(f"view {view}: {error.message}", hint=error.hint) from error
    first_view, first = next(iter(usable.items()))
    for view, tables in usable.items():
        if sorted(tables[0].keypoint_names) != sorted(first[0].keypoint_names):
            raise SmoothingError(f"views {first_view} and {view} have different keypoints")
        for what, ours, theirs in (
            ("frames", first[0].n_frames, tables[0].n_frames),
            ("members", len(first), len(tables)),
        ):
            if ours != theirs:
                raise SmoothingError(
                    f"views differ in {what}: {first_view} has {ours}, {view} has {theirs}"
                )
        usable[view] = [table.select(first[0].keypoint_names) for table in tables]
    return usable


def _one_by_one(
    members: dict[str, list[KeypointTable]], options: SmoothOptions, reason: str, started: float
) -> ViewsResult:
    tables: dict[str, KeypointTable] = {}
    params: dict[str, float] = {}
    for view, tables_of_view in members.items():
        tables[view] = ensemble_table(tables_of_view, options)
        chosen = smooth_singlecam(tables[view], options)
        _check_seen(tables[view], f" in view {view}")
        params |= {f"{name} ({view})": param for name, param in chosen.items()}
    seconds = time.perf_counter() - started
    return ViewsResult(tables, params, None, "singlecam", reason, seconds)


def _check_seen(table: KeypointTable, where: str = "") -> None:
    """A keypoint that a member saw at all has a smoothed position in every frame."""
    unseen = np.isnan(table.values[..., AVERAGE]).all(axis=(0, 2))
    columns = np.flatnonzero(~unseen)
    check_smoothed(table.xy[:, columns], [table.keypoint_names[k] for k in columns], where)


def _stop_if(should_stop: Stop) -> None:
    if should_stop is not None and should_stop():
        raise CancelledError("smoothing was stopped")
