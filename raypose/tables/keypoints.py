"""The keypoint table: one row per frame, in memory and as the CSV that the field's tools read.

A file has three header rows (scorer, bodyparts, coords), an unnamed index of frames, and x, y and
likelihood per keypoint, or the nine columns of EKS. Tables of metrics have one header row of
keypoints. Files are written and read in blocks through Arrow, so that memory stays bounded.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError
from raypose.storage.origins import Origin
from raypose.tables.csv_rows import read_head, read_numbers
from raypose.tables.row_index import WRITE_AGAIN, AnyName
from raypose.video.frames import Frames, FrameStatus, without_picture

if TYPE_CHECKING:
    import pyarrow as pa

FloatArray = npt.NDArray[np.float32]

COORDS = ("x", "y", "likelihood")
EKS_COORDS = (
    *COORDS,
    *("x_ens_median", "y_ens_median"),
    *("x_ens_var", "y_ens_var", "x_posterior_var", "y_posterior_var"),
)
EKS_SCORER = "ensemble-kalman_tracker"
POINT_COORDS = ("x", "y", "z", "x_posterior_var", "y_posterior_var", "z_posterior_var")

_HEADER_LABELS = ("scorer", "bodyparts", "coords")
# Values formatted at a time; these stay in the processor's cache.
_WRITE_VALUES = 1 << 18
_WRITE_BLOCKS = 8


@dataclass(frozen=True, eq=False)
class KeypointTable:
    """Keypoints of every frame of a video, in pixels of the frame.

    Raises:
        TableError: the parts do not fit each other, or a keypoint comes twice.
    """

    scorer: str  # what made the table, e.g. `heatmap_tracker`
    keypoint_names: tuple[str, ...]  # in the order of `values`
    coords: tuple[str, ...]  # what `values` holds per keypoint; begins with x, y and likelihood
    values: FloatArray  # (n_frames, n_keypoints, len(coords)); NaN where there is none
    notes: tuple[str, ...] = ()  # what was assumed when the table was read
    open_ended: bool = False  # frames without an animal may be missing at the end, as in SLEAP's
    origin: Origin | None = None  # what it was made from, if raypose made it
    frames: Frames | None = None  # time and status of each; None if all are ok or nothing is known

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        object.__setattr__(self, "values", values)
        if values.ndim != 3 or values.shape[1:] != (len(self.keypoint_names), len(self.coords)):
            raise TableError(
                f"values of shape {values.shape} do not fit {len(self.keypoint_names)} keypoints "
                f"of {len(self.coords)} columns"
            )
        if self.coords[:3] != COORDS:
            raise TableError(f"columns {self.coords} do not begin with x, y, likelihood")
        if self.frames is not None and len(self.frames) != len(values):
            raise TableError(f"{len(values)} rows, and the status of {len(self.frames)} frames")
        if self.frames is not None and self.frames.all_ok:
            object.__setattr__(self, "frames", None)
        twice = sorted(name for name, n in Counter(self.keypoint_names).items() if n > 1)
        if twice:
            raise TableError(f"keypoints that come more than once: {', '.join(twice)}")

    @property
    def n_frames(self) -> int:
        """Number of rows, one per frame."""
        return int(self.values.shape[0])

    @property
    def xy(self) -> FloatArray:
        """View of the positions, shape (n_frames, n_keypoints, 2), in pixels."""
        return self.values[..., :2]

    @property
    def is_ok(self) -> npt.NDArray[np.bool_]:
        """Whether each frame is undamaged, as far as is known, shape (n_frames,)."""
        if self.frames is None:
            return np.ones(self.n_frames, np.bool_)
        return np.asarray(self.frames.statuses == FrameStatus.OK)

    @property
    def has_picture(self) -> npt.NDArray[np.bool_]:
        """Whether a picture of each frame could be decoded, shape (n_frames,)."""
        if self.frames is None:
            return np.ones(self.n_frames, np.bool_)
        return ~without_picture(self.frames.statuses)

    @property
    def likelihood(self) -> FloatArray:
        """View of the likelihoods, shape (n_frames, n_keypoints), 0 to 1."""
        return self.values[..., 2]

    @property
    def ensemble_variance(self) -> FloatArray | None:
        """Variance of an ensemble's members, of x plus y, shape (n_frames, n_keypoints), in pixels
        squared; None of a table that is no ensemble's."""
        if "x_ens_var" not in self.coords:
            return None
        x, y = (self.coords.index(name) for name in ("x_ens_var", "y_ens_var"))
        return self.values[..., x] + self.values[..., y]

    def slice(self, start: int, stop: int) -> KeypointTable:
        """The rows of frames `start` to `stop` (excluded), numbered from 0 again."""
        if not 0 <= start < stop <= self.n_frames:
            raise TableError(f"frames {start} to {stop} are not in a table of {self.n_frames}")
        frames = None if self.frames is None else self.frames.slice(start, stop)
        return replace(self, values=self.values[start:stop], frames=frames)

    def extended(self, n_frames: int) -> KeypointTable:
        """The table with `n_frames` more at its end, without keypoints: NaN, likelihood 0."""
        added = np.full((n_frames, *self.values.shape[1:]), np.nan, np.float32)
        added[..., 2] = 0
        return replace(self, values=np.concatenate([self.values, added]))

    def select(self, keypoint_names: Sequence[str]) -> KeypointTable:
        """These keypoints only, in this order; a TableError if the table lacks one."""
        names = tuple(keypoint_names)
        if names == self.keypoint_names:
            return self
        missing = [name for name in names if name not in self.keypoint_names]
        if missing:
            raise TableError(f"keypoints missing: {', '.join(missing)}")
        columns = [self.keypoint_names.index(name) for name in names]
        return replace(self, keypoint_names=names, values=self.values[:, columns])


@dataclass(frozen=True, eq=False)
class PointTable:
    """Smoothed 3-D keypoints of every frame, and their posterior variances."""

    keypoint_names: tuple[str, ...]  # in the order of `values`
    values: FloatArray  # (n_frames, n_keypoints, 6), in the order of `POINT_COORDS`


def write_csv(table: KeypointTable, path: AnyName, threads: int = 1) -> None:
    """Writes a table as CSV, float32 values in the fewest digits that read back the same.

    pandas takes a first row of empty fields for names and drops it: such a row is written with
    likelihoods of 0, which mean the same. Blocks of rows are formatted in `threads` threads.
    """
    values = table.values
    if len(values) and np.isnan(values[0]).all():
        values = values.copy()
        values[0, :, 2] = 0.0
    _write(path, _header(table.scorer, table.keypoint_names, table.coords), values, threads)


def write_points_csv(table: PointTable, path: AnyName, threads: int = 1) -> None:
    """Writes 3-D keypoints as `eks` does: three header rows, six columns per keypoint."""
    # pandas takes a first row of empty fields for names and drops it.
    if len(table.values) and np.isnan(table.values[0]).all():
        raise TableError("the first row of 3-D keypoints would be empty", path=path)
    _write(path, _header(EKS_SCORER, table.keypoint_names, POINT_COORDS), table.values, threads)


def read_csv(path: AnyName) -> KeypointTable:
    """Reads a table of Lightning Pose, DeepLabCut or EKS; a TableError if it is none, or cut.

    Columns are taken by name: x, y and likelihood, and the nine of EKS where every keypoint has
    them; others are left out. Values are rounded to float32. See `csv_rows` for the dialects.
    """
    head = read_head(path, 3)
    if tuple(row[0] for row in head.rows) != _HEADER_LABELS:
        raise TableError(
            "no table of keypoints: its first three rows are not scorer, bodyparts and coords",
            path=path,
            hint="Give a CSV of Lightning Pose, DeepLabCut (one animal) or EKS.",
        )
    scorers, bodyparts, coords = (row[1:] for row in head.rows)
    if not len(scorers) == len(bodyparts) == len(coords) > 0:
        raise TableError("its header rows differ in length", path=path, hint=WRITE_AGAIN)
    names, kept_coords, columns = choose_columns(bodyparts, coords, path)
    values, notes = read_numbers(head, len(coords), columns)
    shape = (len(values), len(names), len(kept_coords))
    return KeypointTable(scorers[0], names, kept_coords, values.reshape(shape), notes)


def write_metric_csv(
    path: AnyName, keypoint_names: Sequence[str], values: npt.NDArray[Any], threads: int = 1
) -> None:
    """Writes one value per frame and keypoint: a header row of keypoints, an unnamed index.

    `values` have the shape (n_frames, n_keypoints); NaN is written as an empty field.
    """
    if values.ndim != 2 or values.shape[1] != len(keypoint_names):
        raise TableError(f"values of shape {values.shape} for {len(keypoint_names)} keypoints")
    _write(path, [["", *keypoint_names]], np.asarray(values, dtype=np.float32), threads)


def _header(scorer: str, names: Sequence[str], coords: Sequence[str]) -> list[list[str]]:
    return [
        ["scorer", *[scorer] * (len(names) * len(coords))],
        ["bodyparts", *(name for name in names for _ in coords)],
        ["coords", *(coord for _ in names for coord in coords)],
    ]


def _write(path: AnyName, header: list[list[str]], values: FloatArray, threads: int) -> None:
    rows = values.reshape(len(values), len(header[0]) - 1)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(header)
    n_rows = max(1, _WRITE_VALUES // max(1, rows.shape[1]))
    starts = range(0, len(rows), n_rows)

    def block(start: int) -> pa.Buffer:
        return _format_rows(rows[start : start + n_rows], start)

    with Path(path).open("wb") as file, ThreadPoolExecutor(threads) as pool:
        file.write(text.getvalue().encode())
        # Some blocks at a time, never all of them: memory does not grow with the table.
        n_blocks = _WRITE_BLOCKS * threads
        for k in range(0, len(starts), n_blocks):
            file.writelines(pool.map(block, starts[k : k + n_blocks]))


def _format_rows(rows: npt.NDArray[np.float32], start: int) -> pa.Buffer:
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    block = np.ascontiguousarray(rows.T)
    columns = [pa.array(np.arange(start, start + block.shape[1]))]
    # NaN becomes an empty field. (`from_pandas=True` says the same, and imports pandas.)
    columns += [pa.array(column, mask=np.isnan(column)) for column in block]
    batch = pa.RecordBatch.from_arrays(columns, names=[str(i) for i in range(len(columns))])
    sink = pa.BufferOutputStream()
    options = pa_csv.WriteOptions(include_header=False, batch_size=len(rows), quoting_style="none")
    pa_csv.write_csv(batch, sink, options)
    return sink.getvalue()


def choose_columns(
    bodyparts: list[str], coords: list[str], path: AnyName
) -> tuple[tuple[str, ...], tuple[str, ...], list[int]]:
    """Keypoints, coordinates and the positions of their columns, keypoint by keypoint."""
    position: dict[tuple[str, str], int] = {}
    for i, column in enumerate(zip(bodyparts, coords, strict=True)):
        if column in position:
            raise TableError(f"column {column[0]} {column[1]} comes more than once", path=path)
        position[column] = i
    names = tuple(part for part, coord in position if coord == "x")
    if not names:
        raise TableError("it has no column of x coordinates", path=path)
    for name in names:
        lacking = [coord for coord in COORDS if (name, coord) not in position]
        if lacking:
            message = f"keypoint {name} has no column {' and '.join(lacking)}"
            hint = "Tables of labels have no likelihood; give one of predictions."
            raise TableError(message, path=path, hint=hint)
    is_eks = all((name, coord) in position for name in names for coord in EKS_COORDS)
    kept = EKS_COORDS if is_eks else COORDS
    return names, kept, [position[name, coord] for name in names for coord in kept]
