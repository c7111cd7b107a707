"""Frames of videos, for tests: times of a constant rate, and statuses by number."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raypose.video.frames import Frames, FrameStatus


def make_frames(
    n: int,
    *,
    first: int = 0,
    suspect: Iterable[int] = (),
    corrupt: Iterable[int] = (),
    missing: Iterable[int] = (),
) -> Frames:
    """Frames `first` to `first + n` of a video of 25 frames per second, most of them ok."""
    statuses = np.zeros(n, np.int8)
    for status, numbers in (
        (FrameStatus.SUSPECT, suspect),
        (FrameStatus.CORRUPT, corrupt),
        (FrameStatus.MISSING, missing),
    ):
        statuses[[number - first for number in numbers]] = status
    return Frames((first + np.arange(n)) / 25, statuses)
