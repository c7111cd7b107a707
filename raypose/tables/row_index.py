"""The first column of a table: which frame each row is of.

Rows are numbered one by one, by integers (`0`), floats (`0.0`) or names of images that differ only
in their number. A table that skips frames, or is of several videos, is no table of predictions.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError
from raypose.limits import MAX_IMAGE_DIGITS

if TYPE_CHECKING:
    import pyarrow as pa

AnyName = str | os.PathLike[str]

WRITE_AGAIN = "Write it again with the tool that made it."
# `labeled-data/v/img0012.png`: what comes before the number, the number, suffixes.
IMAGE = re.compile(r"^(.*?)(\d+)((?:\.[A-Za-z]\w*)+)$", re.DOTALL)


def numbered_from(first: int) -> tuple[str, ...]:
    """The note on a table whose first row is not numbered 0; none where it is."""
    text = f"its frames are numbered from {first}; its first row is taken as frame 0"
    return (text,) if first else ()


class Index:
    """The first column: whole numbers that go up by one, also written as floats (`0.0`)."""

    def __init__(self, arrow_type: str) -> None:
        self.arrow_type = arrow_type
        self._first: int | None = None
        self._next = 0

    def check(self, batch: pa.RecordBatch, path: AnyName) -> None:
        """Refuse a block of rows in which a number is left out or comes twice."""
        numbers = self._numbers(batch, path)
        if not len(numbers):
            return
        if self._first is None:
            self._first = self._next = int(numbers[0])
        if not np.array_equal(numbers, np.arange(self._next, self._next + len(numbers))):
            hint = "A table of predictions has one row for each frame of its video, in order."
            raise TableError("its frames are not numbered one by one", path=path, hint=hint)
        self._next += len(numbers)

    def _numbers(self, batch: pa.RecordBatch, path: AnyName) -> npt.NDArray[Any]:
        if batch.column(0).null_count:
            raise TableError("a row has no frame number", path=path, hint=WRITE_AGAIN)
        # (`Array.to_numpy` would import pandas.)
        numbers: npt.NDArray[Any] = batch.to_tensor().to_numpy()[:, 0]
        if numbers.dtype.kind == "f" and not (np.abs(numbers) < 2**53).all():
            raise TableError("its frames are not numbered one by one", path=path)
        return numbers

    def notes(self) -> tuple[str, ...]:
        return numbered_from(self._first or 0)


class ImageIndex(Index):
    """Names of images that differ in their number alone: `img0000.png`."""

    _series: tuple[str, str] | None = None
    _example = ""

    def _numbers(self, batch: pa.RecordBatch, path: AnyName) -> npt.NDArray[Any]:
        names = batch.column(0).to_pylist()
        return np.array([self._number(name or "", path) for name in names], np.int64)

    def _number(self, name: str, path: AnyName) -> int:
        parts = IMAGE.match(name)
        if parts is None or len(parts[2]) > MAX_IMAGE_DIGITS:
            message = f"a row begins with {name[:60]!r}, which is no frame number"
            hint = "Rows begin with the number of their frame: 0, 1, …"
            raise TableError(message, path=path, hint=hint)
        series = (parts[1], parts[3])
        if self._series is None:
            self._series, self._example = series, name
        if series != self._series:
            message = f"its rows are images of several videos ({self._example[:60]}, {name[:60]})"
            hint = "A table of predictions has one row for each frame of one video, in order."
            raise TableError(message, path=path, hint=hint)
        return int(parts[2])

    def notes(self) -> tuple[str, ...]:
        return (
            f"its rows are named by images; {self._example[:60]} is taken as frame 0, and those "
            "after it as the frames that follow",
        )


def index_of(first: str) -> Index:
    """The kind of index that the first row begins with."""
    text = first.strip()
    if re.fullmatch(r"[+-]?\d*", text):
        return Index("int64")
    if re.fullmatch(r"[+-]?\d*[.,]\d*([eE][+-]?\d+)?", text):
        return Index("float64")
    return ImageIndex("string")
