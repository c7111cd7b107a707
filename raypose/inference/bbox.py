"""Bounding boxes from CSV files: the part of each frame that the networks see."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raypose.errors import TableError, VideoError
from raypose.limits import MAX_BBOX_PIXELS
from raypose.tables.csv_rows import read_columns, read_head

COLUMNS = ("x", "y", "h", "w")
_HINT = f"A CSV with the columns {', '.join(COLUMNS)} and one row per frame is needed."


def bbox_path(folder: Path, stem: str) -> Path:
    """The file of a video's bounding boxes, named as Lightning Pose names it."""
    return folder / f"{stem}_bbox.csv"


def read_bboxes(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """The bounding boxes of a video, from a CSV with the columns x, y, h, w and a row per frame.

    Returns:
        (n_rows, 4): x and y of the upper left corner, height, width, in pixels of the frame.

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
        message = f"the bounding boxes can't be read ({error.strerror})"
        raise VideoError(message, path=path) from None
    except TableError as error:
        message = f"this is no file of bounding boxes ({error.message})"
        raise VideoError(message, path=path, hint=_HINT) from None
    bboxes: NDArray[np.float64] = np.stack([columns[name] for name in COLUMNS], axis=1)
    if not len(bboxes):
        raise VideoError("there are no bounding boxes in it", path=path, hint=_HINT)
    with np.errstate(invalid="ignore"):
        too_far = ~(np.abs(bboxes) <= MAX_BBOX_PIXELS).all(axis=1)
        bad = np.flatnonzero(too_far | (bboxes[:, 2:] <= 0).any(axis=1))
    if len(bad):
        values = ", ".join(f"{n} {v:g}" for n, v in zip(COLUMNS, bboxes[bad[0]], strict=True))
        raise VideoError(
            f"the bounding box of frame {bad[0]} has no area in any frame ({values})",
            path=path,
            hint="Each needs numbers of pixels, h and w above 0.",
        )
    return bboxes
