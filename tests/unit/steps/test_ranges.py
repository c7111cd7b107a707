"""Finished ranges of a video: kept exactly, trusted only when verified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from raypose.errors import TableError
from raypose.steps.ranges import (
    finished_ranges,
    range_folder,
    read_range,
    remove_ranges,
    write_range,
)
from raypose.storage.layout import output_paths
from tests.frames import make_frames

PROVENANCE = {"video": "v", "model": "m"}


def values(n_frames: int, seed: int = 0) -> np.ndarray:
    array = np.random.default_rng(seed).normal(size=(n_frames, 3, 3)).astype(np.float32)
    array[0, 0] = np.nan
    return array


def write(folder: Path, start: int, n_frames: int, *, missing: Sequence[int] = ()) -> Path:
    return write_range(
        folder,
        start,
        values(n_frames, start),
        PROVENANCE,
        frames=make_frames(n_frames, first=start, missing=missing),
        source="/v.mp4",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return range_folder(output_paths(tmp_path, "day1/cam", "app").predictions)


def test_comes_back_bit_for_bit(folder: Path) -> None:
    path = write(folder, 300, 40, missing=[310, 311])
    array, frames = read_range(path)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, values(40, 300))
    np.testing.assert_array_equal(frames.times_s, np.arange(300, 340) / 25)
    assert np.flatnonzero(frames.statuses).tolist() == [10, 11]
    assert frames.counts == {"ok": 38, "missing": 2}


def test_finished_ranges_are_in_order(folder: Path) -> None:
    late, early = write(folder, 1000, 50), write(folder, 0, 50)
    assert finished_ranges(folder, PROVENANCE) == ((0, 50, str(early)), (1000, 1050, str(late)))


def test_of_another_recipe_are_not_used(folder: Path) -> None:
    write(folder, 0, 50)
    assert finished_ranges(folder, {**PROVENANCE, "model": "m2"}) == ()


def test_damaged_and_foreign_files_are_not_used(folder: Path) -> None:
    cut = write(folder, 0, 50)
    cut.write_bytes(cut.read_bytes()[:-20])
    good = write(folder, 50, 50)
    (folder / "notes.parquet").write_bytes(good.read_bytes())
    (folder / "000000100-000000150.parquet").write_bytes(good.read_bytes())
    assert finished_ranges(folder, PROVENANCE) == ((50, 100, str(good)),)


def test_of_overlapping_ones_the_first_wins(folder: Path) -> None:
    first, _, third = write(folder, 0, 50), write(folder, 25, 50), write(folder, 75, 5)
    assert finished_ranges(folder, PROVENANCE) == ((0, 50, str(first)), (75, 80, str(third)))


def test_none_where_there_is_no_folder(folder: Path) -> None:
    assert finished_ranges(folder, PROVENANCE) == ()


def test_a_broken_file_is_named(folder: Path) -> None:
    path = write(folder, 0, 50)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError) as caught:
        read_range(path)
    assert caught.value.path == str(path)
    with pytest.raises(TableError):
        read_range(folder / "gone.parquet")


def test_removing_leaves_those_of_other_videos(tmp_path: Path) -> None:
    a, b = (range_folder(output_paths(tmp_path, key, "app").predictions) for key in ("a", "b"))
    write(a, 0, 5)
    kept = write(b, 0, 5)
    remove_ranges(a)
    assert not a.exists()
    assert kept.exists()
    remove_ranges(b)
    assert not b.parent.exists()
    remove_ranges(b)  # again is no error


def test_ranges_lie_where_no_app_looks(folder: Path, tmp_path: Path) -> None:
    write(folder, 0, 5)
    assert not list((tmp_path / "video_preds").glob("**/[!.]*.csv"))
    assert folder.relative_to(tmp_path / "video_preds" / "day1").parts[0].startswith(".")
