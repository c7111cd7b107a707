"""What the report shows of a table, small enough for hundreds of them: made at run time.

Reading 1,500 tables of an hour each takes long; reading these does not. A file holds the traces
of every keypoint reduced to buckets, the status of the frames, distributions, the worst moments,
and their pictures. `steps.review` commits it, `report.html` reads it; pictures come from
`rendering.stills`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.metrics.traces import Codes, bucket_starts, extremes
from raypose.metrics.worst import FrameScores, score_frames, worst_moments
from raypose.tables.keypoints import KeypointTable
from raypose.text import json_text

VERSION = 2
N_MOMENTS = 10

LIKELIHOOD_EDGES = np.linspace(0.0, 1.0, 21)
PIXEL_EDGES = np.logspace(-1, 3, 33)
"""Edges of the distributions; what is beyond is counted in the first and last bin."""

ROWS = ("x_min", "x_max", "y_min", "y_max", "likelihood_min", "likelihood_max")
POSTERIOR_ROWS = ("x_sd", "y_sd")
"""Rows of the traces of a keypoint; of a smoothed table also the posterior's standard deviation,
of each bucket the largest."""

_PICTURES = "pictures"
"""In the facts of a file: frame and number of bytes of each picture, −1 for the thumbnail. The
pictures lie in one column, one after the other."""

_THUMBNAIL = -1
_TYPES = {"times_s": "<f8", "statuses": "u1", "scores": "<f4", "codes": "<u2", "ends": "<f4"}
"""The arrays of a file; their shapes follow from the facts."""


@dataclass(frozen=True, slots=True, eq=False)
class Review:
    """What the report shows of a table.

    Attributes:
        facts: what is no array, as JSON: `version`, `n_frames`, `keypoints`, `threshold`, `rows`
            (names of the rows of traces), `moments`, `distributions`, `quality`, and the video's
            `fps`.
        times_s: when each bucket begins, (n_buckets,).
        statuses: worst status of each bucket's frames, (n_buckets,), as `FrameStatus`.
        scores: highest score of each bucket's frames, 0 to 1, (n_buckets,); NaN if none.
        traces: codes and ends of (n_keypoints · n_rows, n_buckets).
        thumbnail: a WebP picture of the video; empty where the video was not read.
        stills: frame number → WebP picture with the predictions drawn.
    """

    facts: Mapping[str, Any]
    times_s: npt.NDArray[np.float64]
    statuses: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.float32]
    traces: Codes
    thumbnail: bytes = b""
    stills: Mapping[int, bytes] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as an Arrow file of one row, which is read faster than a NumPy archive."""
        import pyarrow as pa

        pictures = {_THUMBNAIL: self.thumbnail, **self.stills}
        facts = {**self.facts, _PICTURES: [[n, len(p)] for n, p in pictures.items()]}
        arrays: dict[str, npt.NDArray[Any]] = {
            "times_s": self.times_s,
            "statuses": self.statuses,
            "scores": self.scores,
            "codes": self.traces.codes,
            "ends": self.traces.ends,
        }
        columns = {
            "facts": json_text(facts).encode(),
            **{name: array.astype(_TYPES[name]).tobytes() for name, array in arrays.items()},
            _PICTURES: b"".join(pictures.values()),
        }
        batch = pa.record_batch(
            [pa.array([content], pa.binary()) for content in columns.values()], list(columns)
        )
        with path.open("wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)

    @classmethod
    def read(cls, content: bytes) -> Review:
        """A review from the bytes of its file.

        Raises:
            ValueError: they are no review, or one of another version.
        """
        import pyarrow as pa

        try:
            table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
            columns = {name: table[name][0].as_py() for name in table.column_names}
            facts = json.loads(columns["facts"])
            if not isinstance(facts, dict) or facts.get("version") != VERSION:
                raise ValueError("it is of another version of raypose")
            arrays = {name: np.frombuffer(columns[name], kind) for name, kind in _TYPES.items()}
            pictures = _split(columns[_PICTURES], facts.pop(_PICTURES))
            shape = (len(facts["keypoints"]) * len(facts["rows"]), len(arrays["times_s"]))
            return cls(
                facts,
                arrays["times_s"],
                arrays["statuses"],
                arrays["scores"],
                Codes(arrays["codes"].reshape(shape), arrays["ends"].reshape(shape[0], 2)),
                pictures.pop(_THUMBNAIL),
                pictures,
            )
        except (IndexError, KeyError, TypeError, pa.ArrowException) as error:
            raise ValueError(f"it is no file of a report ({error})") from error


def _split(content: bytes, sizes: Iterable[tuple[int, int]]) -> dict[int, bytes]:
    """The pictures in an array, by frame."""
    pictures, start = {}, 0
    for frame, size in sizes:
        pictures[int(frame)] = content[start : start + size]
        start += size
    return pictures


def review_table(
    table: KeypointTable,
    metrics: Mapping[str, npt.NDArray[np.floating]],
    *,
    threshold: float,
    times_s: npt.NDArray[np.float64],
    fps: float,
) -> Review:
    """The review of a table, without pictures.

    Args:
        table: predictions of a model, or of the smoothed ensemble.
        metrics: name → values in pixels, (n_frames, n_keypoints), in the table's keypoints.
        threshold: likelihood from which a keypoint counts as confident.
        times_s: time of every frame, (n_frames,).
        fps: frames per second.
    """
    starts = bucket_starts(table.n_frames)
    scores = score_frames(table, metrics, threshold)
    rows, traces = _traces(table, starts)
    statuses = np.zeros(len(starts), np.uint8)
    if table.frames is not None:
        statuses = extremes(table.frames.statuses, starts)[1].astype(np.uint8)
    facts = {
        "version": VERSION,
        "n_frames": table.n_frames,
        "fps": fps,
        "keypoints": list(table.keypoint_names),
        "threshold": threshold,
        "rows": list(rows),
        "moments": _moments(scores, table, times_s, fps),
        "distributions": _distributions(table, metrics),
    }
    return Review(
        facts, times_s[starts], statuses, extremes(scores.total, starts)[1], Codes.of(traces)
    )


def _traces(
    table: KeypointTable, starts: npt.NDArray[np.int64]
) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
    """Names of the rows of a keypoint, and (n_keypoints · n_rows, n_buckets) numbers."""
    low, high = extremes(table.values[..., :3], starts)
    columns = [side[..., i] for i in range(3) for side in (low, high)]
    names: tuple[str, ...] = ROWS
    if "x_posterior_var" in table.coords:
        names += POSTERIOR_ROWS
        for axis in "xy":
            variance = table.values[..., table.coords.index(f"{axis}_posterior_var")]
            columns.append(np.sqrt(np.maximum(extremes(variance, starts)[1], 0)))
    stacked = np.stack(columns, axis=-1)  # bucket, keypoint, row
    return names, stacked.transpose(1, 2, 0).reshape(-1, len(starts))


def _moments(
    scores: FrameScores, table: KeypointTable, times_s: npt.NDArray[np.float64], fps: float
) -> list[dict[str, Any]]:
    apart = max(1, min(round(fps), table.n_frames // (2 * N_MOMENTS)))
    found = worst_moments(scores.total, N_MOMENTS, apart)
    return [
        {
            "frame": int(n),
            "time_s": round(float(times_s[n]), 3),
            "score": round(float(scores.total[n]), 3),
            "why": scores.main_part(int(n)),
        }
        for n in found
    ]


def _distributions(
    table: KeypointTable, metrics: Mapping[str, npt.NDArray[np.floating]]
) -> dict[str, list[int]]:
    """Counts of the values of all keypoints in each bin, of frames with a picture."""
    seen = table.has_picture
    counts = {"likelihood": _counts(table.likelihood[seen], LIKELIHOOD_EDGES)}
    return counts | {name: _counts(values[seen], PIXEL_EDGES) for name, values in metrics.items()}


def _counts(values: npt.NDArray[Any], edges: npt.NDArray[np.float64]) -> list[int]:
    known = values[np.isfinite(values)]
    bins = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
    return [int(n) for n in np.bincount(bins, minlength=len(edges) - 1)]
