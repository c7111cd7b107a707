"""One session smoothed: checks the members, chooses the mode, calls the smoother of that mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from raypose.config import EksOptions
from raypose.eks.ensemble import AVERAGE, aligned, check_smoothed, ensemble_table
from raypose.eks.options import PUPIL_PARAMS, given_params
from raypose.eks.pupil import PUPIL_KEYPOINTS, pupil_columns, smooth_pupil
from raypose.eks.results import SmoothResult, ViewsResult
from raypose.eks.singlecam import keypoint_groups, smooth_singlecam
from raypose.eks.views import Calibration, smooth_mirrored_views, smooth_separate_views
from raypose.errors import CancelledError, SmoothingError
from raypose.specs import ModelSpec
from raypose.tables.keypoints import KeypointTable

Progress = Callable[[int], None] | None
Stop = Callable[[], bool] | None


def smooth_recording(
    members: Mapping[str, Mapping[str, KeypointTable]],
    options: EksOptions,
    *,
    mirrored: Sequence[Sequence[str]] = (),
    calibration: str = "",
    on_progress: Progress = None,
    should_stop: Stop = None,
) -> ViewsResult:
    """Smooths a recording of one view or of several.

    Without a mode, one video is smoothed as one camera, as the Pose-app does it, and several
    views together.

    Args:
        members: for each view the members' tables, from `fitting_members`.
        options: of the smoother.
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
    mode = options.mode
    if options.mirrored and not (mirrored or others) and mode in (None, "auto", "mirrored"):
        mirrored = views_by_suffix(first.keypoint_names, options.mirrored)
    if not (mode or others or mirrored):
        options = options.model_copy(update={"mode": "singlecam"})
    if others:
        return smooth_views(
            views,
            options,
            calibration=Path(calibration) if calibration else None,
            on_progress=on_progress,
            should_stop=should_stop,
        )
    ((view, tables),) = views.items()
    result = smooth_session(
        tables, options, mirrored=mirrored, on_progress=on_progress, should_stop=should_stop
    )
    reason = result.reason if mode or mirrored else "one video"
    return ViewsResult(
        {view: result.table}, result.smooth_params, None, result.mode, reason, result.seconds
    )


def check_names(options: EksOptions, names: Sequence[str]) -> None:
    """Check that options fit the keypoints, before there are any tables.

    Args:
        options: as of `smooth_recording`.
        names: the keypoints that are to be smoothed.

    Raises:
        SmoothingError: they name keypoints that do not exist, or not all of them.
    """
    given = options.smooth_param
    by_keypoint = not isinstance(given, Mapping) or set(given) != set(PUPIL_PARAMS)
    given_params(options, names if by_keypoint else PUPIL_PARAMS)
    keypoint_groups(tuple(names), options.blocks)
    if options.mode == "pupil":
        pupil_columns(names)


def check_mode(
    mode: str | None,
    names: Sequence[str],
    mirrored: bool,
    several: bool,
    calibration: Path | None,
) -> None:
    """Check that a mode fits a recording, before there are any tables.

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


def smooth_session(
    members: Sequence[KeypointTable],
    options: EksOptions | None = None,
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
    options = options or EksOptions()
    usable = aligned(members, options.min_members or 2)
    _stop_if(should_stop)
    mode, reason = _mode_of_one(options.mode or "auto", usable[0].keypoint_names, bool(mirrored))
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
    options: EksOptions | None = None,
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
    options = options or EksOptions()
    mode, reason = _mode_of_many(options.mode or "auto", calibration)
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
    members: Mapping[str, Sequence[KeypointTable]], options: EksOptions
) -> dict[str, list[KeypointTable]]:
    if len(members) < 2:
        raise SmoothingError("smoothing over views needs two views or more")
    usable: dict[str, list[KeypointTable]] = {}
    for view, tables in members.items():
        try:
            usable[view] = aligned(tables, options.min_members or 2)
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
    members: dict[str, list[KeypointTable]], options: EksOptions, reason: str, started: float
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
