"""Long traces, reduced to what a screen shows.

A chart of ten hours has a million frames and a thousand columns of pixels. Frames are put into
buckets, and of each bucket the lowest and the highest value is kept: a single frame that jumps
stays visible, which a mean would hide. Values are stored as codes of 12 bits between the ends of
their row, finer than a chart can show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

N_BUCKETS = 512
_TOP = 4095  # codes are 1 to 4095, and 0 where there is no value

Starts = npt.NDArray[np.int64]


def bucket_starts(n_frames: int, most: int = N_BUCKETS) -> Starts:
    """First frame of each bucket, (min(n_frames, most),): buckets differ by a frame at most."""
    n = min(n_frames, most)
    return np.arange(n, dtype=np.int64) * n_frames // max(n, 1)


def extremes(
    values: npt.NDArray[Any], starts: Starts
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Lowest and highest of each bucket, (n_buckets, …) each; NaN where a bucket has no number.

    Args:
        values: (n_frames, …).
        starts: first frame of each bucket.
    """
    if not len(starts):
        return values[:0], values[:0]
    return np.fmin.reduceat(values, starts, axis=0), np.fmax.reduceat(values, starts, axis=0)


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Rows of numbers as codes between two ends.

    Attributes:
        codes: (n_rows, n_buckets), uint16; 0 where there is no value.
        ends: (n_rows, 2), float32: what the codes 1 and 4095 stand for.
    """

    codes: npt.NDArray[np.uint16]
    ends: npt.NDArray[np.float32]

    @classmethod
    def of(cls, rows: npt.NDArray[Any]) -> Codes:
        """The codes of rows (n_rows, n_buckets) of numbers; NaN is none."""
        known = np.isfinite(rows)
        low = np.where(known, rows, np.inf).min(axis=1, initial=np.inf)
        high = np.where(known, rows, -np.inf).max(axis=1, initial=-np.inf)
        low, high = (np.where(np.isfinite(end), end, 0.0) for end in (low, high))
        span = np.where(high > low, high - low, 1.0)
        share = (np.where(known, rows, low[:, None]) - low[:, None]) / span[:, None]
        codes = np.where(known, 1 + np.rint(share * (_TOP - 1)), 0)
        return cls(codes.astype(np.uint16), np.stack([low, low + span], axis=1).astype(np.float32))

    def values(self) -> npt.NDArray[np.float64]:
        """The numbers, to within a 4000th of each row's span."""
        low, high = self.ends.astype(np.float64).T[..., None]
        numbers = low + (self.codes - 1.0) / (_TOP - 1) * (high - low)
        return np.where(self.codes > 0, numbers, np.nan)


def coarser(codes: npt.NDArray[np.uint16], factor: int, *, highest: bool) -> npt.NDArray[Any]:
    """Codes (…, n_buckets) of `factor` times wider buckets: of each its highest or lowest."""
    if factor == 1 or not codes.shape[-1]:
        return codes
    starts = np.arange(0, codes.shape[-1], factor)
    if highest:
        return np.maximum.reduceat(codes, starts, axis=-1)
    # 0 is no value, and less than none.
    lowest = np.minimum.reduceat(codes - np.uint16(1), starts, axis=-1)
    return np.asarray(lowest + np.uint16(1))
