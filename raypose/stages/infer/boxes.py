"""Bounding boxes: what part of each frame the networks look at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raypose import regular
from raypose.errors import VideoError

COLUMNS = ("x", "y", "h", "w")


def boxes_path(folder: Path, stem: str) -> Path:
    """Where the boxes of a video are, named as Lightning Pose names them."""
    return folder / f"{stem}_bbox.csv"


def read_boxes(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The boxes of a video.

    Args:
        path: a CSV with the columns x, y, h, w (in pixels of the frame), a row a frame.

    Returns:
        (n_rows, 4): x and y of the upper left corner, height, width.

    Raises:
        VideoError: the file can't be read, or is no such table.
    """
    import pandas as pd

    try:
        regular.check(Path(path))
        table = pd.read_csv(path)
        boxes: NDArray[np.float64] = table[list(COLUMNS)].to_numpy(np.float64)
    except OSError as error:
        raise VideoError(f"the boxes can't be read ({error.strerror})", path=path) from None
    except (ValueError, KeyError, pd.errors.ParserError) as error:
        raise VideoError(
            f"these are no bounding boxes ({error})",
            path=path,
            hint=f"A CSV with the columns {', '.join(COLUMNS)} and a row a frame is needed.",
        ) from None
    bad = np.flatnonzero(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] <= 0).any(axis=1))
    if not len(boxes) or len(bad):
        what = f"row {bad[0]} has no area" if len(bad) else "there is no row"
        raise VideoError(f"the boxes can't be used: {what}", path=path)
    return boxes
