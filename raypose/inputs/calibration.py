"""The cameras' calibration of a recording: found beside its videos, and which cameras it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from raypose.eks.calibration import read_cameras
from raypose.storage import local_path

NAME = "calibration.toml"


def camera_names(path: Path) -> tuple[str, ...]:
    """Names of the cameras of an Anipose calibration, in its order.

    Raises:
        UsageError: the file can't be read, or is no calibration that can be used.
    """
    return tuple(camera.name for camera in read_cameras(path))


def find_calibration(videos: Sequence[str], session: str) -> Path | None:
    """The calibration that lies beside a recording's videos, None where there is none.

    Looked for in the folder that holds all of its videos, and in the one above: `SESSION.toml`
    in a folder `calibrations` there (as Lightning Pose projects have them), else
    `calibration.toml`. Beside objects in a store nothing is looked for.
    """
    if any(local_path(video) is None for video in videos):
        return None
    folder = Path(os.path.commonpath([os.path.dirname(video) for video in videos]))
    name = session.rpartition("/")[2]
    for place in (folder, folder.parent):
        for candidate in (place / "calibrations" / f"{name}.toml", place / NAME):
            if candidate.exists() and not candidate.is_dir():
                return candidate
    return None
