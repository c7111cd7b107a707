"""The file of frames beside a table: written where it says something, read with the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raypose.errors import TableError, VideoError
from raypose.steps.frame_files import (
    commit_frames,
    drop_frames,
    frames_of_members,
    frames_provenance,
    recorded_damage,
    refuse_damage,
    with_frames,
)
from raypose.storage import records
from raypose.storage.layout import frames_beside
from raypose.tables.keypoints import COORDS, KeypointTable
from raypose.video.frames import Frames, read_frames, write_frames
from tests.frames import make_frames

PROVENANCE = {"kind": "predictions", "video": "v", "model": "m"}


def make_table(n_frames: int = 10, frames: Frames | None = None) -> KeypointTable:
    values = np.ones((n_frames, 1, 3), np.float32)
    return KeypointTable("heatmap_tracker", ("nose",), COORDS, values, frames=frames)


def local(path: str) -> str:
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "video_preds" / "cam.csv"


def commit(path: Path, frames: Frames, *, always: bool = False) -> list[str]:
    return commit_frames(path, PROVENANCE, frames, source="/v.mp4", always=always)


def test_only_damage_is_worth_a_file(path: Path) -> None:
    assert commit(path, make_frames(10)) == []
    damaged = make_frames(10, missing=[3], suspect=[4])
    made = commit(path, damaged)
    assert made == [str(frames_beside(path))]
    np.testing.assert_array_equal(read_frames(made[0]).statuses, damaged.statuses)
    verdict = records.check(Path(made[0]), frames_provenance(PROVENANCE))
    assert verdict.done and recorded_damage(verdict.stats) == {"ok": 8, "suspect": 1, "missing": 1}


def test_a_file_of_an_earlier_table_does_not_stay_beside_another(path: Path) -> None:
    commit(path, make_frames(10, missing=[3]))
    assert commit(path, make_frames(10))
    assert read_frames(frames_beside(path)).all_ok
    drop_frames(path)
    assert not frames_beside(path).exists()


def test_a_file_of_someone_else_is_left_alone(path: Path) -> None:
    beside = frames_beside(path)
    beside.parent.mkdir(parents=True)
    beside.write_text("mine")
    drop_frames(path)
    assert beside.read_text() == "mine"


def test_it_is_written_for_intact_videos_where_that_is_asked_for(path: Path) -> None:
    assert commit(path, make_frames(10), always=True)
    assert with_frames(make_table(), path, local).frames is None


def test_a_table_is_read_with_its_frames(path: Path) -> None:
    assert with_frames(make_table(), path, local).is_ok.all()
    commit(path, make_frames(10, corrupt=[3], suspect=[4]))
    table = with_frames(make_table(), path, local)
    assert np.flatnonzero(~table.is_ok).tolist() == [3, 4]
    assert np.flatnonzero(~table.slice(4, 9).is_ok).tolist() == [0]


def test_frames_of_another_table_are_refused(path: Path) -> None:
    commit(path, make_frames(9, corrupt=[3]))
    with pytest.raises(TableError, match="status of 9 frames") as caught:
        with_frames(make_table(), path, local)
    assert caught.value.path == str(frames_beside(path))


def test_of_members_the_worst_counts() -> None:
    assert frames_of_members([make_table(), make_table()]) is None
    tables = [
        make_table(),
        make_table(frames=make_frames(10, suspect=[2, 3])),
        make_table(frames=make_frames(10, missing=[3])),
    ]
    frames = frames_of_members(tables)
    assert frames is not None
    assert frames.statuses.tolist() == [0, 0, 1, 3, 0, 0, 0, 0, 0, 0]


def test_strict() -> None:
    refuse_damage(make_frames(10), "/v.mp4")
    for damage in ({"suspect": [1]}, {"corrupt": [1]}, {"missing": [1]}):
        with pytest.raises(VideoError, match="1 of 10 frames is") as caught:
            refuse_damage(make_frames(10, **damage), "/v.mp4")
        assert caught.value.path == "/v.mp4"
        assert "--strict" in caught.value.hint


@pytest.mark.parametrize("stats", [None, {}, {"frames": 5}, {"frames": {"ok": 9}}, {"frames": []}])
def test_records_that_say_nothing_of_damage(stats: dict[str, object] | None) -> None:
    assert recorded_damage(stats) == {}


def test_odd_records() -> None:
    stats = {"frames": {"ok": 1, "missing": 2, "strange": "x", "corrupt": "many"}}
    assert recorded_damage(stats) == {"ok": 1, "missing": 2}


def test_a_table_and_its_frames_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="10 rows, and the status of 9 frames"):
        make_table(frames=make_frames(9))
    write_frames(make_frames(3), tmp_path / "x.csv")
