"""What is kept of a table for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from raypose.metrics.review import PIXEL_EDGES, VERSION, Review
from tests.frames import make_frames
from tests.reports import NAMES, make_review, make_table


def test_it_reads_back_as_it_was_written(tmp_path: Path) -> None:
    review = make_review(make_table(smoothed=True), pictures=True)
    review.write(tmp_path / "r.arrow")
    read = Review.read((tmp_path / "r.arrow").read_bytes())
    assert read.facts == review.facts
    assert read.stills == review.stills and read.thumbnail == review.thumbnail
    np.testing.assert_array_equal(read.traces.codes, review.traces.codes)
    np.testing.assert_array_equal(read.times_s, review.times_s)


def test_traces_are_those_of_the_table() -> None:
    table = make_table(n_frames=300)  # fewer frames than buckets
    review = make_review(table)
    values = review.traces.values().reshape(len(NAMES), 6, 300)
    spans = np.ptp(table.xy, axis=0)
    for row, column in ((0, 0), (1, 0), (2, 1), (3, 1)):
        error = np.abs(values[:, row] - table.values[..., column].T)
        assert (error <= spans[:, column, None] / 4000).all()
    np.testing.assert_allclose(values[:, 4], table.likelihood.T, atol=1e-3)


def test_a_smoothed_table_has_the_posterior_too() -> None:
    table = make_table(n_frames=50, smoothed=True)
    review = make_review(table)
    assert review.facts["rows"][-2:] == ["x_sd", "y_sd"]
    values = review.traces.values().reshape(len(NAMES), 8, 50)
    variance = table.values[..., table.coords.index("y_posterior_var")].T
    np.testing.assert_allclose(values[:, 7], np.sqrt(variance), rtol=1e-2)


def test_worst_moments_are_apart_and_not_in_damaged_frames() -> None:
    table = make_table(n_frames=1000, unlikely=0)
    table.values[[100, 101, 102, 700], :, 2] = 0.1
    table.values[400, :, 2] = 0.0
    review = make_review(make_table_with(table, missing=[400]))
    frames = [moment["frame"] for moment in review.facts["moments"]]
    assert len(frames) == 10 and 700 in frames[:3] and set(frames) & {100, 101, 102}
    assert 400 not in frames
    assert min(np.diff(sorted(frames))) >= 25
    assert review.facts["moments"][0]["why"] == "low_likelihood"


def make_table_with(table: object, **statuses: list[int]) -> object:
    from dataclasses import replace

    return replace(table, frames=make_frames(table.n_frames, **statuses))  # type: ignore[attr-defined,type-var]


def test_statuses_are_the_worst_of_each_bucket() -> None:
    frames = make_frames(2048, suspect=[4, 5], missing=[6], corrupt=[2047])
    review = make_review(make_table(2048, frames=frames))
    assert len(review.statuses) == 512
    assert review.statuses[[0, 1, 511]].tolist() == [0, 3, 2] and review.statuses.sum() == 5


def test_distributions_count_every_value_once() -> None:
    review = make_review(make_table(n_frames=100))
    counts = review.facts["distributions"]
    assert sum(counts["likelihood"]) == 300
    assert sum(counts["temporal_norm"]) == 297 and len(counts["temporal_norm"]) == 32
    assert len(PIXEL_EDGES) == 33


@pytest.mark.parametrize("cut", [0, 6, 100, -1])
def test_a_file_that_is_cut_short_is_refused_in_a_sentence(tmp_path: Path, cut: int) -> None:
    make_review(make_table(n_frames=50)).write(tmp_path / "r.arrow")
    with pytest.raises(ValueError):
        Review.read((tmp_path / "r.arrow").read_bytes()[:cut])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    batch = pa.record_batch([pa.array([b'{"version": %d}' % VERSION])], ["facts"])
    with pa.ipc.new_file(str(tmp_path / "r.arrow"), batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(ValueError, match="no file of a report"):
        Review.read((tmp_path / "r.arrow").read_bytes())
