"""Ensembles for tests: members that see one true motion, each with its own noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from raypose.predictions import COORDS, KeypointTable

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


def make_views(
    calibration: Path,
    views: tuple[str, ...] = ("left", "right", "top"),
    n_frames: int = 200,
    n_members: int = 3,
    names: tuple[str, ...] = NAMES,
    seed: int = 0,
) -> dict[str, list[KeypointTable]]:
    """Points that move in space, seen by calibrated cameras; writes the calibration."""
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
    CameraGroup(cameras).dump(str(calibration))
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
