"""Tables in the formats of other tools, read back with the libraries of their users.

Numbers are float32 in a table, and the same afterwards, bit by bit; COCO rounds to four decimals.
"""

from __future__ import annotations

import errno
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from raypose.errors import TableError, UsageError
from raypose.tables import read_table
from raypose.tables.formats import FORMATS, Description, formats_named
from raypose.tables.keypoints import COORDS, EKS_COORDS, EKS_SCORER, KeypointTable, write_csv
from raypose.video.frames import Frames, FrameStatus
from tests.disk import largest_file

NAMES = ("nose", "paw left", "tail")
N_FRAMES = 12
MISSING = (0, 4, 11)  # frames without any keypoint
TIMES_S = np.array([0, 0.03, 0.07, 0.1, 0.5, 0.53, 0.56, 0.6, 0.63, 0.66, 0.7, 1.2])
BEGAN = datetime(2026, 3, 1, 12, 30, tzinfo=timezone.utc)


def make_table(coords: tuple[str, ...] = EKS_COORDS) -> KeypointTable:
    """Three frames are missing, the first and the last among them; one keypoint of another is."""
    random = np.random.default_rng(0)
    values = random.uniform(5, 300, (N_FRAMES, len(NAMES), len(coords))).astype(np.float32)
    values[..., 2] = random.uniform(0, 1, values.shape[:2])
    values[MISSING, :] = np.nan
    values[7, 1] = np.nan
    statuses = np.zeros(N_FRAMES, np.int8)
    statuses[list(MISSING)] = FrameStatus.MISSING
    scorer = EKS_SCORER if coords == EKS_COORDS else "heatmap_tracker"
    return KeypointTable(scorer, NAMES, coords, values, frames=Frames(TIMES_S, statuses))


def write(table: KeypointTable, name: str, folder: Path, **known: Any) -> Path:
    form = FORMATS[name]
    path = folder / f"cam{form.suffix}"
    fields: dict[str, Any] = {
        "owner": "model_a",
        "key": "cam",
        "recipe": "0123456789abcdef0123",
        "folder": folder,
        "video": str(folder / "videos" / "cam.mp4"),
        "size": (320, 240),
        "times_s": TIMES_S,
        "began": BEGAN,
        "began_by": "when the video was last changed",
        "skeleton": (("nose", "paw left"), ("paw left", "tail")),
    }
    form.write(table, path, Description(**fields | known))
    return path


def same(found: Any, expected: Any) -> bool:
    return np.array_equal(np.asarray(found), expected, equal_nan=True)


def test_parquet_reads_back_as_the_csv_does(tmp_path: Path) -> None:
    table = make_table()
    write_csv(table, tmp_path / "cam.csv")
    csv = pd.read_csv(tmp_path / "cam.csv", header=[0, 1, 2], index_col=0)
    found = pd.read_parquet(write(table, "parquet", tmp_path))
    assert found.columns.equals(csv.columns) and found.index.equals(csv.index)
    assert found.columns.names == ["scorer", "bodyparts", "coords"]
    assert same(found, table.values.reshape(N_FRAMES, -1))
    assert found[EKS_SCORER, "tail", "y_posterior_var"].iloc[5] == table.values[5, 2, 8]


@pytest.mark.parametrize("coords", [COORDS, EKS_COORDS])
def test_h5_is_deeplabcuts(coords: tuple[str, ...], tmp_path: Path) -> None:
    pytest.importorskip("tables")
    table = make_table(coords)
    path = write(table, "h5", tmp_path)
    found = pd.read_hdf(path, key="df_with_missing")
    assert isinstance(found, pd.DataFrame)
    assert found.columns.names == ["scorer", "bodyparts", "coords"]
    assert list(found.columns[:3]) == [(table.scorer, "nose", coord) for coord in COORDS]
    assert same(found, table.values[..., :3].reshape(N_FRAMES, -1))
    ours = read_table(path)  # `raypose smooth` reads it too
    assert ours.keypoint_names == NAMES and same(ours.values, table.values[..., :3])


def test_nwb_has_positions_likelihoods_and_the_times_of_the_video(tmp_path: Path) -> None:
    import ndx_pose  # noqa: F401  (what pynwb reads is then of its classes)
    import pynwb

    table = make_table()
    path = write(table, "nwb", tmp_path)
    assert pynwb.validate(path=str(path)) == []
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert file.session_start_time == BEGAN
        behavior = file.processing["behavior"]
        pose = behavior["PoseEstimation"]
        for k, name in enumerate(NAMES):
            series = pose[name]
            assert same(series.data, table.xy[:, k])
            assert same(series.confidence, table.likelihood[:, k])
            assert same(series.timestamps, TIMES_S) and series.rate is None
        assert pose.scorer == EKS_SCORER and pose.source_software == "raypose"
        assert tuple(pose.skeleton.nodes[:]) == NAMES
        assert pose.skeleton.edges[:].tolist() == [[0, 1], [1, 2]]
        assert pose.source_video.external_file[:].tolist() == ["videos/cam.mp4"]
        assert pose.source_video.dimension[:].tolist() == [320, 240]
        variance = behavior["posterior_variance"]
        assert same(variance.data, table.values[..., 7:9]) and variance.unit == "pixels^2"
        assert same(behavior["ensemble_median"].data, table.values[..., 3:5])
        assert same(behavior["ensemble_variance"].data, table.values[..., 5:7])
        assert table.frames is not None
        assert same(behavior["frame_status"].data, table.frames.statuses)


def test_nwb_of_a_model_has_no_more_than_it_knows(tmp_path: Path) -> None:
    import pynwb

    table = KeypointTable("heatmap_tracker", NAMES, COORDS, make_table(COORDS).values)
    path = write(table, "nwb", tmp_path, video="", size=None, skeleton=())
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert set(file.processing["behavior"].data_interfaces) == {"PoseEstimation", "Skeletons"}
        assert not file.acquisition


def test_nwb_makes_up_no_times(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="needs the time of every frame, and it is gone"):
        write(make_table(), "nwb", tmp_path, times_s=None, unknown="it is gone")


def test_nwb_refuses_names_that_it_can_not_hold(tmp_path: Path) -> None:
    table = KeypointTable("m", ("paw/left",), COORDS, np.ones((2, 1, 3), np.float32))
    with pytest.raises(TableError, match="neither / nor : in the names of keypoints: paw/left"):
        write(table, "nwb", tmp_path, times_s=np.arange(2.0), skeleton=())


def test_slp_is_one_animal_in_the_frames_that_have_it(tmp_path: Path) -> None:
    import sleap_io

    table = make_table()
    labels = sleap_io.load_slp(str(write(table, "slp", tmp_path)))
    assert len(labels) == N_FRAMES and len(labels.tracks) == 1
    found = labels.numpy(return_confidence=True)[:, 0]
    assert same(found[..., :2], table.xy)
    seen = ~np.isnan(table.xy[..., 0])
    assert same(found[seen][:, 2], table.likelihood[seen])
    assert [frame.frame_idx for frame in labels if not frame.instances] == list(MISSING)
    assert labels.skeleton.node_names == list(NAMES)
    assert labels.skeleton.edge_names == [("nose", "paw left"), ("paw left", "tail")]
    assert labels.video.filename == str(tmp_path / "videos" / "cam.mp4")
    assert tuple(labels.video.shape) == (N_FRAMES, 240, 320, 3)
    (instance,) = labels[7].instances
    assert isinstance(instance, sleap_io.PredictedInstance)
    assert instance.points["visible"].tolist() == [True, False, True]
    assert instance.score == pytest.approx(table.likelihood[7, [0, 2]].mean(), rel=1e-6)


def test_slp_is_what_sleap_io_writes_itself(tmp_path: Path) -> None:
    import h5py
    import sleap_io

    ours = write(make_table(), "slp", tmp_path)
    again = tmp_path / "again.slp"
    sleap_io.save_slp(sleap_io.load_slp(str(ours)), str(again), verbose=False)
    with h5py.File(ours) as one, h5py.File(again) as other:
        for name in ("frames", "instances", "points", "pred_points"):
            assert one[name].dtype == other[name].dtype
            for field in one[name].dtype.names:
                assert same(one[name][:][field], other[name][:][field]), (name, field)


def test_slp_without_a_video_or_a_keypoint(tmp_path: Path) -> None:
    import sleap_io

    table = KeypointTable("m", NAMES, COORDS, np.full((3, len(NAMES), 3), np.nan, np.float32))
    path = write(table, "slp", tmp_path, video="", size=None, skeleton=())
    labels = sleap_io.load_slp(str(path))
    assert len(labels) == 3 and not any(frame.instances for frame in labels)


def test_coco_has_an_image_for_every_frame_and_a_keypoint_for_every_prediction(
    tmp_path: Path,
) -> None:
    table = make_table()
    content = json.loads(write(table, "coco", tmp_path).read_text())
    (category,) = content["categories"]
    assert category["keypoints"] == list(NAMES) and category["skeleton"] == [[1, 2], [2, 3]]
    assert [image["id"] for image in content["images"]] == list(range(N_FRAMES))
    assert content["images"][9] == {
        "id": 9,
        "file_name": "labeled-data/cam/img00000009.png",
        "frame": 9,
        "width": 320,
        "height": 240,
    }
    found = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    assert sorted(found) == sorted(set(range(N_FRAMES)) - set(MISSING))
    # pycocotools takes the id 0 of an annotation for none.
    assert all(annotation["id"] == frame + 1 for frame, annotation in found.items())
    for frame, annotation in found.items():
        points = np.array(annotation["keypoints"]).reshape(-1, 3)
        seen = points[:, 2] == 2
        assert np.abs(points[seen, :2] - table.xy[frame, seen]).max() <= 1e-4
        assert np.isnan(table.xy[frame, ~seen]).all() and not points[~seen].any()


def test_one_annotation_of_coco_by_hand(tmp_path: Path) -> None:
    points = [[[10, 20, 0.9], [30, 60, 0.05], [np.nan, np.nan, np.nan]]]
    table = KeypointTable("m", NAMES, COORDS, np.array(points, np.float32))
    (found,) = json.loads(write(table, "coco", tmp_path).read_text())["annotations"]
    # A position of low likelihood is a position; one that is missing is COCO's 0, 0, 0.
    assert found["keypoints"] == [10, 20, 2, 30, 60, 2, 0, 0, 0]
    assert found["keypoint_scores"] == [0.9, 0.05, 0]
    assert found["num_keypoints"] == 2 and found["score"] == 0.475
    assert found["bbox"] == [10, 20, 20, 40] and found["area"] == 800


def test_coco_of_a_video_without_a_keypoint(tmp_path: Path) -> None:
    table = KeypointTable("m", NAMES, COORDS, np.full((2, len(NAMES), 3), np.nan, np.float32))
    content = json.loads(write(table, "coco", tmp_path, size=None).read_text())
    assert content["annotations"] == [] and len(content["images"]) == 2
    assert "width" not in content["images"][0]


def test_unknown_formats_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--format xls is not known") as error:
        formats_named(["nwb", "xls"])
    assert error.value.hint == "Give one of parquet, h5, nwb, slp, coco."
    assert [form.name for form in formats_named(["slp", "nwb", "slp"])] == ["slp", "nwb"]
    monkeypatch.setattr("raypose.tables.formats.base.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package tables, .*--extra h5"):
        formats_named(["h5"])


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / b"caf\xe9".decode(errors="surrogateescape")
    folder.mkdir()
    for name in ("parquet", "h5", "slp", "coco"):
        assert write(make_table(), name, folder, video="/cam.mp4").exists()
    video = str(folder / "cam.mp4")
    path = write(make_table(), "coco", tmp_path, key=folder.name, video=video)
    assert json.loads(path.read_bytes())["info"]["video"] == video
    with pytest.raises(TableError, match="--format nwb can't write names that are not UTF-8"):
        write(make_table(), "nwb", tmp_path, key=folder.name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_an_error(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((9000, len(NAMES), 9)).astype(np.float32)
    table = KeypointTable(EKS_SCORER, NAMES, EKS_COORDS, values)
    write(make_table(), name, tmp_path)  # imports what it needs
    with largest_file(50_000), pytest.raises(OSError) as error:
        write(table, name, tmp_path, times_s=np.arange(9000.0))
    assert error.value.errno == errno.EFBIG
