"""Reduction of long traces: no jump is lost, and codes read back as the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raypose.metrics.traces import Codes, bucket_starts, coarser, extremes


@pytest.mark.parametrize("n_frames", [0, 1, 5, 511, 512, 513, 100_003])
def test_buckets_share_the_frames_evenly(n_frames: int) -> None:
    starts = bucket_starts(n_frames)
    assert len(starts) == min(n_frames, 512)
    widths = np.diff([*starts, n_frames])
    assert widths.sum() == n_frames and (not len(widths) or np.ptp(widths) <= 1)


def test_a_single_jump_in_a_million_frames_is_kept() -> None:
    values = np.zeros(1_000_000, np.float32)
    values[123_456] = 99
    low, high = extremes(values, bucket_starts(len(values)))
    assert high.max() == 99 and np.count_nonzero(high) == 1 and not low.any()


def test_frames_without_a_value_do_not_hide_the_others() -> None:
    values = np.array([[np.nan, 1.0], [3.0, np.nan], [np.nan, np.nan], [np.nan, 2.0]])
    low, high = extremes(values, np.array([0, 2]))
    np.testing.assert_array_equal(low, [[3, 1], [np.nan, 2]])
    np.testing.assert_array_equal(high, low)


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1))
def test_codes_read_back_to_within_a_step(rows: list[list[float]]) -> None:
    values = np.array(rows)
    step = (np.ptp(values, axis=1, keepdims=True) + 1e-3) / 4000
    assert (np.abs(Codes.of(values).values() - values) <= step).all()


def test_codes_of_no_value_and_of_a_constant() -> None:
    rows = np.array([[np.nan, np.nan], [5.0, np.nan], [-1.0, np.inf]])
    np.testing.assert_allclose(
        Codes.of(rows).values(), [[np.nan, np.nan], [5, np.nan], [-1, np.nan]]
    )


def test_wider_buckets_keep_their_extremes() -> None:
    codes = np.array([[3, 0, 7, 2, 0], [0, 0, 4, 9, 5]], np.uint16)
    assert coarser(codes, 2, highest=True).tolist() == [[3, 7, 0], [0, 9, 5]]
    assert coarser(codes, 2, highest=False).tolist() == [[3, 2, 0], [0, 4, 5]]
    assert coarser(codes, 1, highest=True) is codes
