"""The cameras' calibration of a recording: found beside its videos, and which cameras it has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raypose.errors import UsageError
from raypose.storage import is_url

NAME = "calibration.toml"


def camera_names(path: Path) -> tuple[str, ...]:
    """Names of the cameras of an Anipose calibration, in its order.

    Raises:
        UsageError: the file can't be read, or is no calibration of several cameras.
    """
    import toml

    try:
        content: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # toml's errors and those of the encoding are such
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"can't be read ({reason})", path=path) from None
    cameras = [entry for key, entry in content.items() if key.startswith("cam")]
    names = tuple(str(c["name"]) for c in cameras if isinstance(c, dict) and "name" in c)
    if len(names) < 2:
        raise UsageError(
            "is no calibration of several cameras",
            path=path,
            hint="Give a calibration.toml as Anipose writes it.",
        )
    return names


def find_calibration(videos: Sequence[str], session: str) -> Path | None:
    """The calibration that lies beside a recording's videos, None where there is none.

    Looked for in the folder that holds all of its videos, and in the one above: `SESSION.toml`
    in a folder `calibrations` there (as Lightning Pose projects have them), else
    `calibration.toml`. Beside objects in a store nothing is looked for.
    """
    if any(is_url(video) for video in videos):
        return None
    folder = Path(os.path.commonpath([os.path.dirname(video) for video in videos]))
    name = session.rpartition("/")[2]
    for place in (folder, folder.parent):
        for candidate in (place / "calibrations" / f"{name}.toml", place / NAME):
            if candidate.is_file():
                return candidate
    return None
