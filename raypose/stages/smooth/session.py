"""One session smoothed: checks the members, chooses the mode, calls the smoother of that mode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from raypose.errors import CancelledError, SmoothingError
from raypose.predictions import KeypointTable
from raypose.stages.smooth.ensemble import aligned, ensemble_table
from raypose.stages.smooth.options import SmoothOptions, SmoothResult, ViewsResult
from raypose.stages.smooth.pupil import PUPIL_KEYPOINTS, smooth_pupil
from raypose.stages.smooth.singlecam import smooth_singlecam
from raypose.stages.smooth.views import Calibration, smooth_mirrored_views, smooth_separate_views
from raypose.tasks import ModelSpec

Progress = Callable[[int], None] | None
Stop = Callable[[], bool] | None


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
        return "mirrored", "the config matches keypoints of mirrored views"
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
        params |= {f"{name} ({view})": param for name, param in chosen.items()}
    seconds = time.perf_counter() - started
    return ViewsResult(tables, params, None, "singlecam", reason, seconds)


def _stop_if(should_stop: Stop) -> None:
    if should_stop is not None and should_stop():
        raise CancelledError("smoothing was stopped")
