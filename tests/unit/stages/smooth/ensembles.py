"""Ensembles for tests: members that see one true motion, each with its own noise."""

from __future__ import annotations

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
