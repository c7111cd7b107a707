"""The first column of a table: which frame each row is of.

Rows are numbered one by one, by integers (`0`), floats (`0.0`) or names of images that differ only
in their number. A table that skips frames, or is of several videos, is no table of predictions.
`csv_rows` checks each block of rows with one of these.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError

if TYPE_CHECKING:
    import pyarrow as pa

AnyName = str | os.PathLike[str]

WRITE_AGAIN = "Write it again with the tool that made it."
# `labeled-data/v/img0012.png`: what comes before the number, the number, suffixes.
IMAGE = re.compile(r"^(.*?)(\d+)((?:\.[A-Za-z]\w*)+)$", re.DOTALL)
_MOST_DIGITS = 15


def numbered_from(first: int) -> tuple[str, ...]:
    """The note on a table whose first row is not numbered 0; none where it is."""
    text = f"its frames are numbered from {first}; its first row is taken as frame 0"
    return (text,) if first else ()


class Index:
    """The first column: whole numbers that go up by one."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._next = 0

    def begin(self) -> None:
        self._first = None

    def type(self) -> Any:
        import pyarrow as pa

        return pa.int64()

    def check(self, batch: pa.RecordBatch, path: AnyName) -> None:
        """Of one block of rows.

        Raises:
            TableError: a number is left out or comes twice.
        """
        numbers = self._numbers(batch, path)
        if not len(numbers):
            return
        if self._first is None:
            self._first = self._next = int(numbers[0])
        if not np.array_equal(numbers, np.arange(self._next, self._next + len(numbers))):
            raise TableError(
                "its frames are not numbered one by one",
                path=path,
                hint="A table of predictions has one row for each frame of its video, in order.",
            )
        self._next += len(numbers)

    def _numbers(self, batch: pa.RecordBatch, path: AnyName) -> npt.NDArray[Any]:
        if batch.column(0).null_count:
            raise TableError("a row has no frame number", path=path, hint=WRITE_AGAIN)
        # (`Array.to_numpy` would import pandas.)
        numbers: npt.NDArray[Any] = batch.to_tensor().to_numpy()[:, 0]
        return numbers

    def notes(self) -> tuple[str, ...]:
        return numbered_from(self._first or 0)


class FloatIndex(Index):
    """Whole numbers written as floats: `0.0`."""

    def type(self) -> Any:
        import pyarrow as pa

        return pa.float64()

    def _numbers(self, batch: pa.RecordBatch, path: AnyName) -> npt.NDArray[Any]:
        numbers = super()._numbers(batch, path)
        if len(numbers) and not (np.abs(numbers) < 2**53).all():
            raise TableError("its frames are not numbered one by one", path=path)
        return numbers


class ImageIndex(Index):
    """Names of images that differ in their number alone: `img0000.png`."""

    def __init__(self) -> None:
        super().__init__()
        self._series: tuple[str, str] | None = None
        self._example = ""

    def begin(self) -> None:
        super().begin()
        self._series = None

    def type(self) -> Any:
        import pyarrow as pa

        return pa.string()

    def _numbers(self, batch: pa.RecordBatch, path: AnyName) -> npt.NDArray[Any]:
        names = batch.column(0).to_pylist()
        return np.array([self._number(name or "", path) for name in names], np.int64)

    def _number(self, name: str, path: AnyName) -> int:
        parts = IMAGE.match(name)
        if parts is None or len(parts[2]) > _MOST_DIGITS:
            raise TableError(
                f"a row begins with {name[:60]!r}, which is no frame number",
                path=path,
                hint="Rows begin with the number of their frame: 0, 1, …",
            )
        series = (parts[1], parts[3])
        if self._series is None:
            self._series, self._example = series, name
        if series != self._series:
            raise TableError(
                f"its rows are images of several videos ({self._example[:60]}, {name[:60]})",
                path=path,
                hint="A table of predictions has one row for each frame of one video, in order.",
            )
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
        return Index()
    if re.fullmatch(r"[+-]?\d*[.,]\d*([eE][+-]?\d+)?", text):
        return FloatIndex()
    return ImageIndex()
