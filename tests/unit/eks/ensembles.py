"""Ensembles for tests: members that see one true motion, each with its own noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raypose.config import EksOptions
from raypose.eks.ensemble import fitting_members
from raypose.eks.pupil import PUPIL_KEYPOINTS
from raypose.eks.recording import SmoothResult, smooth_recording
from raypose.tables.keypoints import COORDS, KeypointTable, write_csv

NAMES = ("nose", "paw", "tail_base")


def make_members(
    n_frames: int = 300,
    n_members: int = 3,
    names: tuple[str, ...] = NAMES,
    seed: int = 0,
    step: float = 1.5,
) -> list[KeypointTable]:
    """Random walks in pixels; noise differs between keypoints and bursts now and then."""
    rng = np.random.default_rng(seed)
    n = len(names)
    truth = 200 + np.cumsum(rng.normal(0, step, (n_frames, n, 2)), axis=0)
    noise = rng.gamma(2.0, 1.0, (n_frames, n, 1)) * np.linspace(0.5, 2.0, n)[:, None]
    noise[rng.random((n_frames, n)) < 0.03] *= 15
    members = []
    for _ in range(n_members):
        values = np.empty((n_frames, n, 3), dtype=np.float32)
        values[..., :2] = truth + noise * rng.normal(0, 1, (n_frames, n, 2))
        values[..., 2] = np.clip(
            1 - noise[..., 0] / 40 + rng.normal(0, 0.01, (n_frames, n)), 0.01, 1
        )
        members.append(KeypointTable("heatmap_tracker", names, COORDS, values))
    return members


def smooth_session(
    members: Sequence[KeypointTable], options: EksOptions | None = None, **how: Any
) -> SmoothResult:
    """One video smoothed, in the mode `auto` unless the options name one."""
    options = options or EksOptions()
    options = options.model_copy(update={"mode": options.mode or "auto"})
    return _smooth({"": members}, options, **how)


def smooth_views(
    members: dict[str, list[KeypointTable]],
    options: EksOptions | None = None,
    calibration: Path | None = None,
) -> SmoothResult:
    """One recording by several cameras smoothed."""
    path = str(calibration) if calibration else ""
    return _smooth(members, options or EksOptions(), calibration=path)


def _smooth(
    members: Mapping[str, Sequence[KeypointTable]], options: EksOptions, **how: Any
) -> SmoothResult:
    views = {v: {str(i): m for i, m in enumerate(tables, 1)} for v, tables in members.items()}
    fitting = fitting_members(views, min_members=options.min_members)
    return smooth_recording(fitting.tables, options, **how)


def write_calibration(path: Path, views: Sequence[str]) -> list[Any]:
    """A calibration of so many cameras, whose names are the views'; returns the cameras."""
    from aniposelib.cameras import Camera, CameraGroup

    cameras = [
        Camera(
            matrix=[[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]],
            dist=[0.05 * v, 0, 0, 0, 0],
            size=[640, 480],
            rvec=[0.2 * (v - 1), 0.35 * (v - 1), 0.05 * v],
            tvec=[5.0 * v, -3.0 * v, 200.0 + 10 * v],
            name=name,
        )
        for v, name in enumerate(views)
    ]
    CameraGroup(cameras).dump(str(path))
    return cameras


def make_views(
    calibration: Path,
    views: tuple[str, ...] = ("left", "right", "top"),
    n_frames: int = 200,
    n_members: int = 3,
    names: tuple[str, ...] = NAMES,
    seed: int = 0,
) -> dict[str, list[KeypointTable]]:
    """Points that move in space, seen by calibrated cameras; writes the calibration."""
    cameras = write_calibration(calibration, views)
    rng = np.random.default_rng(seed)
    n = len(names)
    truth = np.cumsum(rng.normal(0, 0.4, (n_frames, n, 3)), axis=0) + rng.normal(0, 15, (n, 3))
    noise = rng.gamma(2.0, 0.4, (n_frames, n, 1))
    members: dict[str, list[KeypointTable]] = {}
    for camera in cameras:
        seen = camera.project(truth.reshape(-1, 3)).reshape(n_frames, n, 2)
        members[camera.get_name()] = []
        for _ in range(n_members):
            values = np.empty((n_frames, n, 3), dtype=np.float32)
            values[..., :2] = seen + noise * rng.normal(0, 1, seen.shape)
            values[..., 2] = np.clip(1 - noise[..., 0] / 10, 0.1, 1)
            table = KeypointTable("heatmap_tracker", names, COORDS, values)
            members[camera.get_name()].append(table)
    return members


def write_views(members: dict[str, list[KeypointTable]], folder: Path) -> dict[str, list[str]]:
    """Writes `member<i>_<view>.csv`; returns the paths by view."""
    files: dict[str, list[str]] = {}
    for view, tables in members.items():
        files[view] = []
        for i, table in enumerate(tables):
            path = folder / f"member{i}_{view}.csv"
            write_csv(table, path)
            files[view].append(str(path))
    return files


def mirrored_members(members: dict[str, list[KeypointTable]]) -> list[KeypointTable]:
    """The views side by side in one table a member, and a keypoint that only one view has."""
    merged = []
    for i, lone in enumerate(make_members(200, 3, names=("lick",), seed=8)):
        parts = [tables[i] for tables in members.values()]
        names = [f"{name}_{view}" for view in members for name in parts[0].keypoint_names]
        values = np.concatenate([part.values for part in parts] + [lone.values], axis=1)
        merged.append(KeypointTable("heatmap_tracker", (*names, "lick"), COORDS, values))
    return merged


def pupil_members(n_frames: int = 120) -> list[KeypointTable]:
    """The four edges of a pupil whose size changes, and a keypoint that is none of them."""
    rng = np.random.default_rng(2)
    diameter = 40 + np.cumsum(rng.normal(0, 0.2, n_frames))
    centre = 100 + np.cumsum(rng.normal(0, 0.3, (n_frames, 2)), axis=0)
    offsets = np.array([(0, -0.5), (0, 0.5), (0.5, 0), (-0.5, 0)])
    truth = centre[:, None] + diameter[:, None, None] * offsets
    lick = make_members(n_frames, 3, names=("lick",))
    members = []
    for i in range(3):
        values = np.empty((n_frames, 5, 3), dtype=np.float32)
        values[:, :4, :2] = truth + rng.normal(0, 1.0, truth.shape)
        values[:, :4, 2] = rng.uniform(0.9, 1.0, (n_frames, 4))
        values[:, 4:] = lick[i].values
        members.append(
            KeypointTable("heatmap_tracker", (*PUPIL_KEYPOINTS, "lick"), COORDS, values)
        )
    return members
