"""Tables of predictions of other tools, read into a `KeypointTable`.

What a file is, its content says: a CSV of Lightning Pose, DeepLabCut or EKS (`predictions`), a
CSV or an analysis file (HDF5) of SLEAP, or DeepLabCut's HDF5 by pandas. One animal a table.
Nothing is unpickled but lists of names, and nothing is written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from raypose import regular
from raypose.errors import TableError
from raypose.predictions import COORDS, FloatArray, KeypointTable, choose_columns, read_csv

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD_BYTES = 1 << 20
_GLANCE_BYTES = 1 << 12
_SLEAP_COLUMNS = ("track", "frame_idx", "instance.score")
_SLEAP_SCORER = "sleap"
# How SLEAP itself writes its arrays; newer files name their axes.
_SLEAP_AXES = ("track", "xy", "node", "frame")
_SLEAP_OLD_AXES = (
    "frame",
    "node",
    "xy",
    "track",
)  # of files that say that they are not transposed
_OTHER_TOOL = "Give a table of Lightning Pose, DeepLabCut, SLEAP or EKS."
_ONE_ANIMAL = "Write a table for each animal and give those: EKS smooths one animal at a time."
_MAKE_AGAIN = "Make it again with the tool that made it."
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


def look_at_table(path: str | os.PathLike[str]) -> TableLook | None:
    """A glance at a file: enough to know what it is, not whether it can be used.

    Returns:
        None where it is no table of predictions.

    Raises:
        TableError: the file is empty or damaged, so that nothing can be said.
        OSError: the file can't be read.
    """
    with regular.open_file(Path(path)) as file:
        head = file.read(_GLANCE_BYTES)
    if head.startswith(_HDF5):
        return _look_at_hdf5(path)
    if not head:
        raise TableError("is empty", path=path, hint=_MAKE_AGAIN)
    first, _ = _first_rows(head)
    if tuple(first[: len(_SLEAP_COLUMNS)]) == _SLEAP_COLUMNS:
        return TableLook(_SLEAP_SCORER)
    return TableLook(first[1]) if len(first) > 1 and first[0] == "scorer" else None


def _look_at_hdf5(path: str | os.PathLike[str]) -> TableLook | None:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            named = file["video_path"][()] if "video_path" in file else b""
            # SLEAP may have run on another system: this knows both kinds of separators.
            return TableLook(_SLEAP_SCORER, PureWindowsPath(named.decode()).stem)
        for group in _frames(file).values():
            columns = _plain(group.attrs["non_index_axes"], path)[0][1]
            known = isinstance(columns[0], tuple) and len(columns[0]) in (3, 4)
            return TableLook(str(columns[0][0])) if known else None
    return None


def read_table(path: str | os.PathLike[str]) -> KeypointTable:
    """Reads a table of predictions, whatever tool it is of.

    Values are rounded to float32. Where SLEAP has no point the position is NaN and the likelihood
    0; a point without a score, which somebody has placed by hand, has likelihood 1.

    Raises:
        TableError: the file is damaged, is no such table, or is one of several animals.
        OSError: the file can't be read.
    """
    with regular.open_file(Path(path)) as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_HDF5):
        return _read_hdf5(path)
    if not head:
        raise TableError("is empty", path=path, hint=_MAKE_AGAIN)
    first, second = _first_rows(head)
    if tuple(first[: len(_SLEAP_COLUMNS)]) == _SLEAP_COLUMNS:
        return _read_sleap_csv(path)
    if first[:1] == ["scorer"] and second[:1] == ["individuals"]:
        animals = list(dict.fromkeys(second[1:]))
        raise _several("individuals", animals, path)
    if first[:1] != ["scorer"]:
        raise TableError("is no table of predictions", path=path, hint=_OTHER_TOOL)
    return read_csv(path)


def _first_rows(head: bytes) -> tuple[list[str], list[str]]:
    """The first two rows of a CSV file; empty ones where it is none."""
    try:
        rows = csv.reader(io.StringIO(head.decode("utf-8-sig", errors="replace"), newline=""))
        return next(rows, []), next(rows, [])
    except csv.Error:
        return [], []


def _several(what: str, names: Sequence[str], path: str | os.PathLike[str]) -> TableError:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return TableError(
        f"holds {len(names)} {what} ({shown}), not one animal", path=path, hint=_ONE_ANIMAL
    )


@contextmanager
def _as_table_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """What h5py raises; it has no exceptions of its own."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, IndexError) as error:
        raise TableError(f"can't be read as HDF5 ({error})", path=path, hint=_AS_CSV) from error


def _frames(file: Any) -> dict[str, Any]:
    """The data frames in a file, by name."""
    return {n: item for n, item in file.items() if "pandas_type" in getattr(item, "attrs", {})}


def _read_hdf5(path: str | os.PathLike[str]) -> KeypointTable:
    import h5py

    with _as_table_errors(path), h5py.File(path, "r") as file:
        if "tracks" in file and "node_names" in file:
            return _read_sleap_analysis(file, path)
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


def _read_pandas(group: Any, path: str | os.PathLike[str]) -> KeypointTable:
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
        raise _several("individuals", list(dict.fromkeys(c[1] for c in columns)), path)
    if levels != {3}:
        raise TableError("is no table of predictions", path=path, hint=_OTHER_TOOL)
    if not np.array_equal(np.diff(rows["index"]), np.ones(max(0, len(rows) - 1))):
        raise TableError("its frames are not numbered one by one", path=path)
    names, coords, chosen = choose_columns([c[1] for c in columns], [c[2] for c in columns], path)
    order = [stored.index(columns[i]) for i in chosen]
    values = np.concatenate(
        [rows[name].reshape(len(rows), -1).astype(np.float32) for name in blocks], axis=1
    )[:, order]
    shape = (len(rows), len(names), len(coords))
    return KeypointTable(columns[0][0], names, coords, values.reshape(shape))


class _PlainUnpickler(pickle.Unpickler):
    """Lists, tuples, texts and numbers only: no file can make it run anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")


def _plain(pickled: Any, path: str | os.PathLike[str]) -> Any:
    """The value of an attribute that PyTables has pickled."""
    try:
        return _PlainUnpickler(io.BytesIO(bytes(pickled))).load()
    except Exception as error:  # damaged pickles raise whatever they like
        raise TableError(
            f"the names of its columns can't be read ({error})", path=path, hint=_AS_CSV
        ) from error


def _read_sleap_analysis(file: Any, path: str | os.PathLike[str]) -> KeypointTable:
    """Arrays of all tracks; only a file of a single one is one animal."""
    tracks = file["tracks"]
    if "dims" in tracks.attrs:
        axes = tuple(json.loads(tracks.attrs["dims"]))
    else:
        axes = _SLEAP_AXES if file.attrs.get("transpose", True) else _SLEAP_OLD_AXES
    if sorted(axes) != sorted(_SLEAP_AXES) or tracks.ndim != len(axes):
        raise TableError(f"its tracks have axes {axes}, which are not known", path=path)
    n_tracks = tracks.shape[axes.index("track")]
    if n_tracks != 1:
        known = [name.decode() for name in file["track_names"][:]]
        raise _several("tracks", known or [str(i) for i in range(n_tracks)], path)
    if "point_scores" not in file:
        raise TableError(
            "has no scores of points, which smoothing needs",
            path=path,
            hint="Export it again with SLEAP 1.3 or later.",
        )
    frame_node_xy = [axes.index(axis) for axis in ("track", "frame", "node", "xy")]
    xy = np.transpose(tracks[:], frame_node_xy)[0]
    flat = [axis for axis in axes if axis != "xy"]
    track_frame_node = [flat.index(axis) for axis in ("track", "frame", "node")]
    scores = np.transpose(file["point_scores"][:], track_frame_node)[0]
    names = tuple(name.decode() for name in file["node_names"][:])
    return _sleap_table(names, xy, scores)


def _read_sleap_csv(path: str | os.PathLike[str]) -> KeypointTable:
    """A row for each instance; frames without one have no row."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    try:
        numbers = pa_csv.ConvertOptions(column_types={"track": pa.string()})
        rows = pa_csv.read_csv(os.fspath(path), convert_options=numbers)
        columns = {
            name: rows[name].cast(pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
            for name in rows.column_names
            if name != "track"
        }
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableError(
            f"a row can't be read: {str(error)[:200]}",
            path=path,
            hint=_MAKE_AGAIN,
        ) from error
    nodes = [name.removesuffix(".x") for name in columns if name.endswith(".x")]
    lacking = [f"{n}.{c}" for n in nodes for c in ("y", "score") if f"{n}.{c}" not in columns]
    if not nodes or lacking or not len(rows):
        raise TableError(f"has no {' and '.join(lacking) or 'points'}", path=path)
    tracks = sorted({track or "" for track in rows["track"].to_pylist()})
    frames = columns["frame_idx"].astype(np.int64)
    if len(tracks) > 1:
        raise _several("tracks", tracks, path)
    if len(np.unique(frames)) < len(frames) or frames.min() < 0:
        raise TableError("has frames with two instances", path=path, hint=_ONE_ANIMAL)
    values = np.full((frames.max() + 1, len(nodes), 3), np.nan)
    for i, node in enumerate(nodes):
        for j, column in enumerate(("x", "y", "score")):
            values[frames, i, j] = columns[f"{node}.{column}"]
    return _sleap_table(tuple(nodes), values[..., :2], values[..., 2])


def _sleap_table(names: tuple[str, ...], xy: FloatArray, scores: FloatArray) -> KeypointTable:
    """From positions (n_frames, n_keypoints, 2) and scores (n_frames, n_keypoints)."""
    seen = ~np.isnan(xy).any(axis=-1)
    likelihood = np.where(np.isnan(scores), seen, np.where(seen, scores, 0.0))
    values = np.concatenate([xy, likelihood[..., None]], axis=-1, dtype=np.float32)
    return KeypointTable(_SLEAP_SCORER, names, COORDS, values)
