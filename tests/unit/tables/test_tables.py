"""Tables of other tools, written as they write them, read back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from raypose import tables
from raypose.errors import TableError
from raypose.limits import MAX_FRAME_NUMBER, MAX_FRAMES_PER_ROW
from raypose.tables import read_table
from raypose.tables.keypoints import COORDS, KeypointTable, write_csv, write_metric_csv
from tests.tables import (
    dlc_frame,
    write_dlc_csv,
    write_dlc_h5,
    write_sleap_csv,
    write_sleap_h5,
)

NAMES = ("nose", "tail.base", "paw l")


def make_table(n_frames: int = 40) -> KeypointTable:
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 300, (n_frames, len(NAMES), 3)).astype(np.float32)
    values[..., 2] /= 300
    return KeypointTable("heatmap_tracker", NAMES, COORDS, values)


def with_gaps() -> KeypointTable:
    """A point is missing here and there, and once the whole animal."""
    table = make_table()
    table.values[3, 1] = table.values[7] = (np.nan, np.nan, 0)
    return table


def assert_same(table: KeypointTable, expected: KeypointTable) -> None:
    assert table.keypoint_names == expected.keypoint_names
    np.testing.assert_allclose(table.values, expected.values, rtol=1e-6)


WRITERS: list[tuple[Callable[..., Path], str]] = [
    (write_dlc_csv, "v.csv"),
    (write_dlc_h5, "v.h5"),
    (write_sleap_h5, "v.analysis.h5"),
    (write_sleap_csv, "v.csv"),
]


@pytest.mark.parametrize(("write", "name"), WRITERS)
def test_values_are_those_that_were_written(
    tmp_path: Path, write: Callable[..., Path], name: str
) -> None:
    expected = make_table()
    assert_same(read_table(write(expected, tmp_path / name)), expected)


@pytest.mark.parametrize(("write", "name"), WRITERS[2:])
def test_what_sleap_did_not_see_has_no_likelihood(
    tmp_path: Path, write: Callable[..., Path], name: str
) -> None:
    expected = with_gaps()
    assert_same(read_table(write(expected, tmp_path / name)), expected)


def test_lightning_pose(tmp_path: Path) -> None:
    write_csv(make_table(), tmp_path / "v.csv")
    table = read_table(tmp_path / "v.csv")
    assert table.scorer == "heatmap_tracker"
    assert_same(table, make_table())


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    write_dlc_h5(make_table(), tmp_path / "v.h5")
    path = (tmp_path / "v.h5").rename(tmp_path / "v.csv")
    assert_same(read_table(path), make_table())


def test_columns_of_several_types_stay_in_order(tmp_path: Path) -> None:
    frame = dlc_frame(make_table(), "DLC")
    frame = frame.astype({column: np.float32 for column in frame.columns[:2]})
    frame.to_hdf(tmp_path / "v.h5", key="df_with_missing", format="table", mode="w")
    assert_same(read_table(tmp_path / "v.h5"), make_table())


@pytest.mark.parametrize("preset", ["standard", "matlab"])
def test_files_of_sleap_io(tmp_path: Path, preset: str) -> None:
    import sleap_io as sio

    expected = with_gaps()
    skeleton, video = sio.Skeleton(list(NAMES)), sio.Video(filename="v.mp4")
    frames = []
    for i, values in enumerate(expected.values):
        if np.isnan(values[:, 0]).all():
            continue
        instance = sio.PredictedInstance.from_numpy(
            values[:, :2], skeleton=skeleton, point_scores=values[:, 2], score=0.9
        )
        frames.append(sio.LabeledFrame(video=video, frame_idx=i, instances=[instance]))
    labels = sio.Labels(frames, videos=[video], skeletons=[skeleton])
    sio.save_analysis_h5(labels, str(tmp_path / "v.h5"), preset=preset)
    sio.save_csv(labels, str(tmp_path / "v.csv"))
    assert_same(read_table(tmp_path / "v.h5"), expected)
    assert_same(read_table(tmp_path / "v.csv").select(NAMES), expected)  # written in order


def test_a_point_placed_by_hand_is_certain(tmp_path: Path) -> None:
    expected = make_table()
    expected.values[5, 0, 2] = np.nan
    table = read_table(write_sleap_h5(expected, tmp_path / "v.h5"))
    assert table.likelihood[5, 0] == 1


@pytest.mark.parametrize(
    ("write", "name", "word"),
    [
        (lambda path: write_dlc_csv(make_table(), path, animals=("m1", "m2")), "v.csv", "m1, m2"),
        (lambda path: write_dlc_h5(make_table(), path, animals=("m1", "m2")), "v.h5", "m1, m2"),
        (lambda path: write_sleap_h5(make_table(), path, ("a", "b")), "v.h5", "2 tracks"),
        (lambda path: write_sleap_csv(make_table(), path, ("a", "b")), "v.csv", "2 tracks"),
        (lambda path: write_sleap_csv(make_table(), path, ("", "")), "v.csv", "two instances"),
    ],
)
def test_several_animals_are_named(
    tmp_path: Path, write: Callable[[Path], Path], name: str, word: str
) -> None:
    path = write(tmp_path / name)
    with pytest.raises(TableError, match=word) as caught:
        read_table(path)
    assert caught.value.path == str(path)
    assert "one animal at a time" in caught.value.hint


def damaged_h5(path: Path) -> None:
    write_sleap_h5(make_table(), path)
    path.write_bytes(path.read_bytes()[:3000])


def labels_h5(path: Path) -> None:
    dlc_frame(make_table(), "me").to_hdf(path, key="df_with_missing", mode="w")


def other_frame(path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    frame.to_hdf(path, key="x", format="table", mode="w")


def two_frames(path: Path) -> None:
    dlc_frame(make_table(), "me").to_hdf(path, key="a", format="table", mode="w")
    dlc_frame(make_table(), "me").to_hdf(path, key="b", format="table", mode="a")


def frames_left_out(path: Path) -> None:
    frame = dlc_frame(make_table(), "me").drop(index=[7])
    frame.to_hdf(path, key="df_with_missing", format="table", mode="w")


def slp(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("pred_points", data=[1.0])


def without_scores(path: Path) -> None:
    write_sleap_h5(make_table(), path)
    with h5py.File(path, "a") as file:
        del file["point_scores"]


def something_in_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=[1.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (damaged_h5, "can't be read as HDF5"),
        (labels_h5, "fixed format"),
        (other_frame, "no table of predictions"),
        (two_frames, "holds 2 tables"),
        (frames_left_out, "not numbered one by one"),
        (slp, "SLEAP project"),
        (without_scores, "no scores"),
        (something_in_h5, "no table of predictions"),
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(bytes(range(256))), "no table of predictions"),
        (lambda path: path.write_text("a,b\n1,2\n"), "no table of predictions"),
        (lambda path: write_metric_csv(path, ["a"], np.ones((3, 1))), "no table of predictions"),
        (lambda path: path.write_text("track,frame_idx,instance.score\n"), "no points"),
        (
            lambda path: path.write_text("track,frame_idx,instance.score,a.x,a.y\n,0,1,2,3\n"),
            "has no a.score",
        ),
        (
            lambda path: path.write_text(
                "track,frame_idx,instance.score,a.x,a.y,a.score\n,0,1,2,3,z\n"
            ),
            "a row can't be read",
        ),
        (lambda path: write_dlc_csv(make_table(), path).write_text("scorer,a\n"), "header rows"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    path = tmp_path / "table"
    make(path)
    with pytest.raises(TableError, match=said) as caught:
        read_table(path)
    assert caught.value.path == str(path)


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not be printed",))


def test_nothing_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_dlc_h5(make_table(), tmp_path / "v.h5")
    with h5py.File(path, "a") as file:
        file["df_with_missing"].attrs["non_index_axes"] = np.bytes_(pickle.dumps(_Evil(), 0))
    with pytest.raises(TableError, match="names of its columns"):
        read_table(path)
    assert "must not" not in capsys.readouterr().out


def test_the_highest_frame_number(tmp_path: Path) -> None:
    path = tmp_path / "v.csv"
    write_sleap_csv(make_table(2), path)
    text = path.read_text()
    assert text.splitlines()[2].startswith(",1,")
    most = MAX_FRAME_NUMBER + 2 * MAX_FRAMES_PER_ROW - 1
    path.write_text(text.replace("\n,1,", f"\n,{most},"))
    assert len(read_table(path).xy) == most + 1
    path.write_text(text.replace("\n,1,", f"\n,{most + 1},"))
    with pytest.raises(TableError, match=r"a row is of frame .*, which can't be"):
        read_table(path)


def test_the_largest_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.h5"
    write_sleap_h5(make_table(), path)
    size = 8 * make_table().xy.size
    monkeypatch.setattr(tables, "MAX_TRACK_BYTES", size)
    read_table(path)
    monkeypatch.setattr(tables, "MAX_TRACK_BYTES", size - 1)
    with pytest.raises(TableError, match="its tracks are too large, of shape"):
        read_table(path)
