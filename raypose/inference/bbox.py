"""Bounding boxes: what part of each frame the networks look at."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError, VideoError
from raypose.tables.csv_rows import read_columns, read_head

COLUMNS = ("x", "y", "h", "w")
_MOST_PIXELS = 1_000_000
_HINT = f"A CSV with the columns {', '.join(COLUMNS)} and one row per frame is needed."


def boxes_path(folder: Path, stem: str) -> Path:
    """Where the boxes of a video are, named as Lightning Pose names them."""
    return folder / f"{stem}_bbox.csv"


def read_boxes(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The boxes of a video.

    Args:
        path: a CSV with the columns x, y, h, w (in pixels of the frame), one row per frame.

    Returns:
        (n_rows, 4): x and y of the upper left corner, height, width.

    Raises:
        VideoError: the file can't be read, or is no such table.
    """
    try:
        head = read_head(path, 1)
        header = head.rows[0] = [name.strip() for name in head.rows[0]]
        lacking = [name for name in COLUMNS if name not in header]
        if lacking:
            raise TableError(f"there is no column {' and no column '.join(lacking)}")
        columns = read_columns(head, COLUMNS)
    except OSError as error:
        raise VideoError(f"the boxes can't be read ({error.strerror})", path=path) from None
    except TableError as error:
        message = f"these are no bounding boxes ({error.message})"
        raise VideoError(message, path=path, hint=_HINT) from None
    boxes: NDArray[np.float64] = np.stack([columns[name] for name in COLUMNS], axis=1)
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(
            ~(np.abs(boxes) <= _MOST_PIXELS).all(axis=1) | (boxes[:, 2:] <= 0).any(axis=1)
        )
    if not len(boxes):
        raise VideoError("the boxes can't be used: there is no row", path=path, hint=_HINT)
    if len(bad):
        values = ", ".join(f"{n} {v:g}" for n, v in zip(COLUMNS, boxes[bad[0]], strict=True))
        raise VideoError(
            f"the boxes can't be used: that of frame {bad[0]} has no area in any frame ({values})",
            path=path,
            hint="Each needs numbers of pixels, h and w above 0.",
        )
    return boxes
