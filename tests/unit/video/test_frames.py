"""Times and statuses of frames: counted, said in words, written and read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypose.errors import TableError
from raypose.video.frames import (
    Frames,
    FrameStatus,
    describe,
    read_frames,
    without_picture,
    write_frames,
)
from tests.frames import make_frames


def test_counts_and_words() -> None:
    frames = make_frames(1200, suspect=range(10, 30), corrupt=[9], missing=[7, 8])
    assert not frames.all_ok and make_frames(3).all_ok
    assert frames.counts == {"ok": 1177, "suspect": 20, "corrupt": 1, "missing": 2}
    assert describe(frames.counts) == "2 of 1,200 frames are missing, 1 corrupt, 20 suspect"
    assert describe({"ok": 9, "corrupt": 1}) == "1 of 10 frames is corrupt"
    assert describe({"ok": 9}) == "all 9 frames are ok"


def test_only_corrupt_and_missing_frames_have_no_picture() -> None:
    statuses = np.array([0, 1, 2, 3], np.int8)
    assert without_picture(statuses).tolist() == [False, False, True, True]


def test_parts_and_the_worst_of_several() -> None:
    whole = make_frames(10, suspect=[5, 6], missing=[4])
    joined = Frames.joined([whole.slice(0, 5), whole.slice(5, 10)])
    np.testing.assert_array_equal(joined.statuses, whole.statuses)
    np.testing.assert_array_equal(joined.times_s, whole.times_s)
    worst = Frames.worst([whole, make_frames(10, corrupt=[6], suspect=[4])])
    assert worst.statuses.tolist() == [0, 0, 0, 0, 3, 1, 2, 0, 0, 0]


def test_the_file_comes_back_and_is_easy_to_read(tmp_path: Path) -> None:
    frames = make_frames(40, suspect=range(21, 30), corrupt=[20], missing=[19])
    path = tmp_path / "cam_frames.csv"
    write_frames(frames, path)
    again = read_frames(path)
    np.testing.assert_array_equal(again.statuses, frames.statuses)
    np.testing.assert_array_equal(again.times_s, frames.times_s)
    table = pd.read_csv(path)
    assert list(table.columns) == ["frame", "time_s", "status"]
    assert table["frame"].tolist() == list(range(40))
    assert table["status"].tolist()[18:22] == ["ok", "missing", "corrupt", "suspect"]
    assert table["time_s"][25] == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "frame,time_s\n0,0.0\n",
        "frame,time_s,status\n0,0.0,fine\n",
        "frame,time_s,status\n0,0.0,ok\n2,0.1,ok\n",
        "frame,time_s,status\n0,0.0\n",
    ],
)
def test_another_file_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "cam_frames.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_frames(path)
    assert caught.value.path == str(path)


def test_statuses_rank_from_good_to_bad() -> None:
    assert sorted(FrameStatus) == [
        FrameStatus.OK,
        FrameStatus.SUSPECT,
        FrameStatus.CORRUPT,
        FrameStatus.MISSING,
    ]
