"""The calibration of a recording's cameras: where it is, and which cameras it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from raypose.eks.calibration import read_cameras
from raypose.storage import local_path


def camera_names(path: Path) -> tuple[str, ...]:
    """Names of the cameras of an Anipose calibration, in its order.

    Raises:
        UsageError: the file can't be read, or isn't a usable calibration.
    """
    return tuple(camera.name for camera in read_cameras(path))


def find_calibration(videos: Sequence[str], session: str) -> Path | None:
    """The calibration beside a recording's videos; None if there is none, or they have URLs.

    Searched in the folder that holds all of its videos, and in the one above: as
    `calibrations/SESSION.toml` (as in Lightning Pose projects), then as `calibration.toml`.
    """
    if any(local_path(video) is None for video in videos):
        return None
    folder = Path(os.path.commonpath([os.path.dirname(video) for video in videos]))
    name = session.rpartition("/")[2]
    for place in (folder, folder.parent):
        for candidate in (place / "calibrations" / f"{name}.toml", place / "calibration.toml"):
            if candidate.exists() and not candidate.is_dir():
                return candidate
    return None
