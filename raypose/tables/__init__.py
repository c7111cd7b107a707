"""Tables of predictions of other tools, read into a `KeypointTable`.

The content says what a file is: a CSV of Lightning Pose, DeepLabCut or EKS (`keypoints`), a CSV or
an analysis file (HDF5) of SLEAP (`sleap`), or DeepLabCut's HDF5 by pandas. One animal per table.
Only lists of names are unpickled.
"""

from __future__ import annotations

import csv
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from raypose.errors import TableError
from raypose.storage import regular_files
from raypose.tables import sleap
from raypose.tables.csv_rows import delimiter_of, text_head
from raypose.tables.keypoints import KeypointTable, choose_columns, read_csv
from raypose.tables.row_index import WRITE_AGAIN, AnyName, numbered_from
from raypose.tables.sleap import several_animals

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


@dataclass(frozen=True, slots=True)
class TableLook:
    """What a file says of itself, at a glance.

    Attributes:
        scorer: what made the table; `sleap` for all of SLEAP's.
        video: stem of the video, where the file names it.
    """

    scorer: str
    video: str = ""


def look_at_table(path: AnyName) -> TableLook | None:
    """A glance at a file: enough to know what it is, not whether it can be used.

    Returns:
        None where it is no table of predictions.

    Raises:
        TableError: the file is empty or damaged, so that nothing can be said.
        OSError: the file can't be read.
    """
    head = _head_of(path, _GLANCE_BYTES)
    if head.startswith(_HDF5):
        return _look_at_hdf5(path)
    if not head:
        raise TableError("is empty", path=path, hint=WRITE_AGAIN)
    first, _ = _first_rows(head)
    if tuple(first[: len(sleap.COLUMNS)]) == sleap.COLUMNS:
        return TableLook(sleap.SCORER)
    return TableLook(first[1]) if len(first) > 1 and first[0] == "scorer" else None


def _look_at_hdf5(path: AnyName) -> TableLook | None:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            named = file["video_path"][()] if "video_path" in file else b""
            # SLEAP may have run on another system: this knows both kinds of separators.
            return TableLook(sleap.SCORER, PureWindowsPath(named.decode()).stem)
        for group in _frames(file).values():
            columns = _plain(group.attrs["non_index_axes"], path)[0][1]
            known = isinstance(columns[0], tuple) and len(columns[0]) in (3, 4)
            return TableLook(str(columns[0][0])) if known else None
    return None


def read_table(path: AnyName) -> KeypointTable:
    """Reads a table of predictions, whatever tool it is of.

    Values are rounded to float32. Where SLEAP has no point the position is NaN and the likelihood
    0; a point without a score, which was placed by hand, has likelihood 1.

    Raises:
        TableError: the file is damaged, is no such table, or is one of several animals.
        OSError: the file can't be read.
    """
    table = _read(path)
    if not table.n_frames:
        raise TableError("has no row of any frame", path=path, hint=WRITE_AGAIN)
    return table


def _read(path: AnyName) -> KeypointTable:
    head = _head_of(path, _HEAD_BYTES)
    if head.startswith(_HDF5):
        return _read_hdf5(path)
    if not head:
        raise TableError("is empty", path=path, hint=WRITE_AGAIN)
    first, second = _first_rows(head)
    if tuple(first[: len(sleap.COLUMNS)]) == sleap.COLUMNS:
        return sleap.read_csv(path)
    if first[:1] == ["scorer"] and second[:1] == ["individuals"]:
        animals = list(dict.fromkeys(second[1:]))
        raise several_animals("individuals", animals, path)
    if first[:1] != ["scorer"]:
        raise TableError("is no table of predictions", path=path, hint=_OTHER_TOOL)
    return read_csv(path)


def _first_rows(head: bytes) -> tuple[list[str], list[str]]:
    """The first two rows of a CSV file; empty ones where it is none."""
    text = text_head(head)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter_of(text.encode()))
        return next(rows, []), next(rows, [])
    except csv.Error:
        return [], []


def _head_of(path: AnyName, n_bytes: int) -> bytes:
    with regular_files.open_file(Path(path)) as file:
        return file.read(n_bytes)


@contextmanager
def _as_table_errors(path: AnyName) -> Iterator[None]:
    """What h5py raises; it has no exceptions of its own."""
    try:
        yield
    except _H5_ERRORS as error:
        raise TableError(f"can't be read as HDF5 ({error})", path=path, hint=_AS_CSV) from error


def _frames(file: Any) -> dict[str, Any]:
    """The data frames in a file, by name."""
    return {n: item for n, item in file.items() if "pandas_type" in getattr(item, "attrs", {})}


def _read_hdf5(path: AnyName) -> KeypointTable:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            return sleap.read_analysis(file, path)
        if "pred_points" in file:
            raise TableError(
                "is a SLEAP project, not a table",
                path=path,
                hint="Export it: sleap-convert --format analysis.",
            )
        frames = _frames(file)
        if not frames:
            raise TableError("holds no table of predictions", path=path, hint=_OTHER_TOOL)
        if len(frames) > 1:
            raise TableError(
                f"holds {len(frames)} tables ({', '.join(frames)})", path=path, hint=_AS_CSV
            )
        (group,) = frames.values()
        return _read_pandas(group, path)


def _read_pandas(group: Any, path: AnyName) -> KeypointTable:
    """A data frame as `to_hdf(format="table")` lays it out: blocks of columns, with their names.

    A block holds the columns of one type of number; their order among all is kept apart.
    """
    if "table" not in group:
        raise TableError(
            "is a data frame in pandas' fixed format, as tables of labels are",
            path=path,
            hint="Give the table of predictions, or write it as CSV.",
        )
    table = group["table"]
    rows = table[:]
    blocks = [name for name in table.dtype.names if name.startswith("values_block_")]
    stored = [column for name in blocks for column in _plain(table.attrs[f"{name}_kind"], path)]
    columns = _plain(group.attrs["non_index_axes"], path)[0][1]
    levels = {len(column) if isinstance(column, tuple) else 1 for column in columns}
    if levels == {4}:
        raise several_animals("individuals", list(dict.fromkeys(c[1] for c in columns)), path)
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
