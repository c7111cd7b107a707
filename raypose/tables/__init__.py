"""Tables of predictions of other tools, read into a `KeypointTable`.

The content says what a file is: a CSV of Lightning Pose, DeepLabCut or EKS (`keypoints`), a CSV or
an analysis file (HDF5) of SLEAP, or DeepLabCut's HDF5 by pandas. One animal per table. SLEAP's end
at the last frame in which it found the animal, however long the video is: they are open-ended, and
are extended when they are combined with others. Only lists of names are unpickled.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.errors import TableError
from raypose.limits import MAX_FRAME_NUMBER, MAX_FRAMES_PER_ROW, MAX_TRACK_BYTES
from raypose.storage import regular_files
from raypose.tables.csv_rows import delimiter_of, read_columns, read_head, text_head
from raypose.tables.keypoints import COORDS, FloatArray, KeypointTable, choose_columns, read_csv
from raypose.tables.row_index import WRITE_AGAIN, AnyName, numbered_from

_HDF5 = b"\x89HDF\r\n\x1a\n"
# What h5py raises where a file is damaged, or laid out in another way than expected.
_H5_ERRORS = (
    *(OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError),
    *(AttributeError, ArithmeticError, AssertionError, MemoryError),
)
_HEAD_BYTES = 1 << 20
_GLANCE_BYTES = 1 << 12
_OTHER_TOOL = "Give a table of Lightning Pose, DeepLabCut, SLEAP or EKS."
_AS_CSV = "Write it as CSV with the tool that made it, and give that."
_SLEAP_COLUMNS = ("track", "frame_idx", "instance.score")
_SLEAP = "sleap"
# How SLEAP itself writes its arrays; newer files name their axes, and those of old files that say
# that they are not transposed have another order.
_AXES = ("track", "xy", "node", "frame")
_OLD_AXES = ("frame", "node", "xy", "track")
_ONE_ANIMAL = "Write a table for each animal and give those: EKS smooths one animal at a time."


@dataclass(frozen=True, slots=True)
class TableLook:
    """What a file says of itself, at a glance."""

    scorer: str  # what made the table; `sleap` for all of SLEAP's
    video: str = ""  # stem of the video, where the file names it


def look_at_table(path: AnyName) -> TableLook | None:
    """A glance at a file: enough to know what it is, not whether it can be used.

    None where it is no table of predictions; a TableError where nothing can be said, since the
    file is empty or damaged.
    """
    is_hdf5, first, _ = _first_rows(path, _GLANCE_BYTES)
    if is_hdf5:
        return _look_at_hdf5(path)
    if _is_sleap(first):
        return TableLook(_SLEAP)
    return TableLook(first[1]) if len(first) > 1 and first[0] == "scorer" else None


def _look_at_hdf5(path: AnyName) -> TableLook | None:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            named = file["video_path"][()] if "video_path" in file else b""
            # SLEAP may have run on another system: this knows both kinds of separators.
            return TableLook(_SLEAP, PureWindowsPath(named.decode()).stem)
        for group in _data_frames(file).values():
            columns = _plain(group.attrs["non_index_axes"], path)[0][1]
            known = isinstance(columns[0], tuple) and len(columns[0]) in (3, 4)
            return TableLook(str(columns[0][0])) if known else None
    return None


def read_table(path: AnyName) -> KeypointTable:
    """Reads a table of predictions of any of these tools; a TableError if it can't be used.

    Values are rounded to float32. Where SLEAP has no point the position is NaN and the likelihood
    0; a point without a score, which was placed by hand, has likelihood 1.
    """
    is_hdf5, first, second = _first_rows(path, _HEAD_BYTES)
    if is_hdf5:
        table = _read_hdf5(path)
    elif _is_sleap(first):
        table = _read_sleap_csv(path)
    elif first[:1] != ["scorer"]:
        raise TableError("is no table of predictions", path=path, hint=_OTHER_TOOL)
    elif second[:1] == ["individuals"]:
        raise _several_animals("individuals", list(dict.fromkeys(second[1:])), path)
    else:
        table = read_csv(path)
    if not table.n_frames:
        raise TableError("has no row of any frame", path=path, hint=WRITE_AGAIN)
    return table


def _first_rows(path: AnyName, n_bytes: int) -> tuple[bool, list[str], list[str]]:
    """Whether a file is HDF5, and the first two rows of a CSV file; empty ones where it is none.

    Only the first `n_bytes` are read.
    """
    with regular_files.open_file(Path(path)) as file:
        head = file.read(n_bytes)
    if not head:
        raise TableError("is empty", path=path, hint=WRITE_AGAIN)
    if head.startswith(_HDF5):
        return True, [], []
    text = text_head(head)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text.encode()))
        return False, next(rows, []), next(rows, [])
    except csv.Error:
        return False, [], []


def _is_sleap(row: list[str]) -> bool:
    return tuple(row[: len(_SLEAP_COLUMNS)]) == _SLEAP_COLUMNS


@contextmanager
def _as_table_errors(path: AnyName) -> Iterator[None]:
    """What h5py raises; it has no exceptions of its own."""
    try:
        yield
    except _H5_ERRORS as error:
        raise TableError(f"can't be read as HDF5 ({error})", path=path, hint=_AS_CSV) from error


def _data_frames(file: Any) -> dict[str, Any]:
    """The data frames in a file, by name."""
    return {n: item for n, item in file.items() if "pandas_type" in getattr(item, "attrs", {})}


def _read_hdf5(path: AnyName) -> KeypointTable:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            return _read_sleap_analysis(file, path)
        if "pred_points" in file:
            hint = "Export it: sleap-convert --format analysis."
            raise TableError("is a SLEAP project, not a table", path=path, hint=hint)
        frames = _data_frames(file)
        if not frames:
            raise TableError("holds no table of predictions", path=path, hint=_OTHER_TOOL)
        if len(frames) > 1:
            message = f"holds {len(frames)} tables ({', '.join(frames)})"
            raise TableError(message, path=path, hint=_AS_CSV)
        (group,) = frames.values()
        return _read_pandas(group, path)


def _read_pandas(group: Any, path: AnyName) -> KeypointTable:
    """A data frame as `to_hdf(format="table")` lays it out: blocks of columns, with their names.

    A block holds the columns of one type of number; their order among all is kept apart.
    """
    if "table" not in group:
        message = "is a data frame in pandas' fixed format, as tables of labels are"
        hint = "Give the table of predictions, or write it as CSV."
        raise TableError(message, path=path, hint=hint)
    table = group["table"]
    rows = table[:]
    blocks = [name for name in table.dtype.names if name.startswith("values_block_")]
    stored = [column for name in blocks for column in _plain(table.attrs[f"{name}_kind"], path)]
    columns = _plain(group.attrs["non_index_axes"], path)[0][1]
    levels = {len(column) if isinstance(column, tuple) else 1 for column in columns}
    if levels == {4}:
        raise _several_animals("individuals", list(dict.fromkeys(c[1] for c in columns)), path)
    if levels != {3}:
        raise TableError("is no table of predictions", path=path, hint=_OTHER_TOOL)
    if not np.array_equal(np.diff(rows["index"]), np.ones(max(0, len(rows) - 1))):
        raise TableError("its frames are not numbered one by one", path=path)
    names, coords, chosen = choose_columns([c[1] for c in columns], [c[2] for c in columns], path)
    order = [stored.index(columns[i]) for i in chosen]
    with np.errstate(over="ignore"):  # what no float32 can hold is infinite
        values = np.concatenate(
            [rows[name].reshape(len(rows), -1).astype(np.float32) for name in blocks], axis=1
        )[:, order]
    shape = (len(rows), len(names), len(coords))
    notes = numbered_from(int(rows["index"][0])) if len(rows) else ()
    return KeypointTable(str(columns[0][0]), names, coords, values.reshape(shape), notes)


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, texts and numbers only: no file can make it run anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _plain(pickled: Any, path: AnyName) -> Any:
    """The value of an attribute that PyTables has pickled."""
    try:
        return _PlainUnpickler(io.BytesIO(bytes(pickled))).load()
    except Exception as error:  # damaged pickles raise whatever they like
        raise TableError(
            f"the names of its columns can't be read ({error})", path=path, hint=_AS_CSV
        ) from error


def _several_animals(what: str, names: Sequence[str], path: AnyName) -> TableError:
    """The error for a table of more than one animal."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    message = f"holds {len(names)} {what} ({shown}), not one animal"
    return TableError(message, path=path, hint=_ONE_ANIMAL)


def _read_sleap_analysis(file: Any, path: AnyName) -> KeypointTable:
    """Reads an analysis file, opened with h5py, whose errors come through."""
    tracks = file["tracks"]
    if "dims" in tracks.attrs:
        axes = tuple(str(axis) for axis in json.loads(tracks.attrs["dims"]))
    else:
        axes = _AXES if file.attrs.get("transpose", True) else _OLD_AXES
    if sorted(axes) != sorted(_AXES) or tracks.ndim != len(axes):
        raise TableError(f"its tracks have axes {axes}, which are not known", path=path)
    if tracks.size * 8 > MAX_TRACK_BYTES:
        raise TableError(f"its tracks are too large, of shape {tracks.shape}", path=path)
    n_tracks = tracks.shape[axes.index("track")]
    if n_tracks != 1:
        known = [name.decode() for name in file["track_names"][:]]
        raise _several_animals("tracks", known or [str(i) for i in range(n_tracks)], path)
    if "point_scores" not in file:
        hint = "Export it again with SLEAP 1.3 or later."
        raise TableError("has no scores of points, which smoothing needs", path=path, hint=hint)
    if file["point_scores"].size * 2 != tracks.size:
        raise TableError("its scores do not fit its points", path=path, hint=WRITE_AGAIN)
    frame_node_xy = [axes.index(axis) for axis in ("track", "frame", "node", "xy")]
    xy = np.transpose(tracks[:], frame_node_xy)[0]
    flat = [axis for axis in axes if axis != "xy"]
    track_frame_node = [flat.index(axis) for axis in ("track", "frame", "node")]
    scores = np.transpose(file["point_scores"][:], track_frame_node)[0]
    names = tuple(name.decode() for name in file["node_names"][:])
    return _sleap_table(names, xy, scores)


def _read_sleap_csv(path: AnyName) -> KeypointTable:
    """Reads a CSV export: one row for each instance; frames without one have no row."""
    head = read_head(path, 1)
    names = head.rows[0]
    nodes = [name.removesuffix(".x") for name in names if name.endswith(".x")]
    lacking = [f"{n}.{c}" for n in nodes for c in ("y", "score") if f"{n}.{c}" not in names]
    if not nodes or lacking:
        raise TableError(f"has no {' and '.join(lacking) or 'points'}", path=path)
    columns = read_columns(head, names, texts=("track",))
    if not len(columns["frame_idx"]):
        raise TableError("has no points", path=path)
    tracks = sorted(set(columns.pop("track").tolist()))
    frames = _frame_numbers(columns["frame_idx"], path)
    if len(tracks) > 1:
        raise _several_animals("tracks", tracks, path)
    if len(np.unique(frames)) < len(frames):
        raise TableError("has frames with two instances", path=path, hint=_ONE_ANIMAL)
    values = np.full((frames.max() + 1, len(nodes), 3), np.nan, np.float32)
    with np.errstate(over="ignore"):  # what no float32 can hold is infinite
        for i, node in enumerate(nodes):
            for j, column in enumerate(("x", "y", "score")):
                values[frames, i, j] = columns[f"{node}.{column}"]
    return _sleap_table(tuple(nodes), values[..., :2], values[..., 2])


def _frame_numbers(numbers: npt.NDArray[Any], path: AnyName) -> npt.NDArray[np.int64]:
    """The frames of the rows, as whole numbers."""
    most = MAX_FRAME_NUMBER + MAX_FRAMES_PER_ROW * len(numbers)
    for number in numbers:
        if not 0 <= number < most or number != int(number):
            message = f"a row is of frame {number:g}, which can't be"
            raise TableError(message, path=path, hint=WRITE_AGAIN)
    return numbers.astype(np.int64)


def _sleap_table(names: tuple[str, ...], xy: FloatArray, scores: FloatArray) -> KeypointTable:
    """From positions (n_frames, n_keypoints, 2) and scores (n_frames, n_keypoints)."""
    seen = ~np.isnan(xy).any(axis=-1)
    likelihood = np.where(np.isnan(scores), seen, np.where(seen, scores, 0.0))
    with np.errstate(over="ignore"):
        values = np.concatenate([xy, likelihood[..., None]], axis=-1, dtype=np.float32)
    return KeypointTable(_SLEAP, names, COORDS, values, open_ended=True)
