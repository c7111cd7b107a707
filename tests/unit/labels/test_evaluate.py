"""Errors on labelled frames: the same numbers as Lightning Pose's, and what has none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypose.errors import LabelsError, UsageError
from raypose.labels.evaluate import evaluate, spread
from raypose.labels.project import frame_of_image
from raypose.report.labels import write_errors
from raypose.tables.keypoints import COORDS, EKS_COORDS, KeypointTable
from tests.output_tables import commit_table

NAMES = ("nose", "paw", "tail")
N_FRAMES = 50


def make_table(seed: int, coords: tuple[str, ...] = COORDS) -> KeypointTable:
    values = np.random.default_rng(seed).uniform(0, 300, (N_FRAMES, len(NAMES), len(coords)))
    return KeypointTable("m_tracker", NAMES, coords, values.astype(np.float32))


def write_labels(path: Path, images: list[str], points: np.ndarray) -> Path:
    columns = pd.MultiIndex.from_product(
        [["me"], NAMES[: points.shape[1]], ["x", "y"]], names=["scorer", "bodyparts", "coords"]
    )
    pd.DataFrame(points.reshape(len(images), -1), index=images, columns=columns).to_csv(path)
    return path


def image(video: str, frame: int) -> str:
    return f"labeled-data/{video}/img{frame:08d}.png"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two models and EKS on `cam` and `day1/top`."""
    folder = tmp_path / "out"
    for k, key in enumerate(("cam", "day1/top")):
        commit_table(folder, "model_a", key, make_table(k), Path("/v.mp4"))
        commit_table(folder, "model_b", key, make_table(10 + k), Path("/v.mp4"))
        eks = make_table(20 + k, EKS_COORDS)
        commit_table(folder, "eks", key, eks, Path("/v.mp4"), kind="smoothed")
    return folder


def test_the_same_errors_as_lightning_pose(out: Path, tmp_path: Path) -> None:
    upstream = pytest.importorskip("lightning_pose.metrics")
    frames = [3, 17, 42, 49]
    points = np.random.default_rng(5).uniform(0, 300, (4, len(NAMES), 2))
    points[1, 2] = np.nan
    labels = write_labels(tmp_path / "l.csv", [image("cam", frame) for frame in frames], points)
    found = evaluate(labels, out)
    assert list(found.errors) == ["model_a", "model_b", "eks"]
    for owner, table in {"model_a": make_table(0), "eks": make_table(20, EKS_COORDS)}.items():
        expected = upstream.pixel_error(points, table.xy[frames].astype(np.float64))
        np.testing.assert_allclose(found.errors[owner], expected, atol=1e-4)
    known = found.errors["model_a"][np.isfinite(found.errors["model_a"])]
    assert len(known) == 11
    summary = found.as_dict(2)["errors"]["model_a"]
    assert summary["n"] == 11
    assert summary["mean"] == pytest.approx(known.mean())
    assert summary["q50"] == pytest.approx(np.median(known))
    assert summary["keypoints"]["tail"]["n"] == 3


def test_the_worst_frames(out: Path, tmp_path: Path) -> None:
    points = make_table(0).xy[[1, 2, 3]].copy()
    points[2, 1] += 1000
    points[0] += 100
    labels = write_labels(tmp_path / "l.csv", [image("cam", frame) for frame in (1, 2, 3)], points)
    found = evaluate(labels, out)
    assert found.worst(2)[0] == 2
    worst = found.as_dict(1)["worst"]
    assert worst[0]["image"] == image("cam", 3) and worst[0]["keypoint"] == "paw"
    error = np.sqrt(2) * 1000 / 3
    assert worst[0]["errors"]["model_a"] == pytest.approx(error, rel=1e-4)
    json.dumps(found.as_dict(3), allow_nan=False)


def test_labels_without_predictions_are_counted_and_named(out: Path, tmp_path: Path) -> None:
    images = [
        image("day1_top", 4),
        image("other", 1),
        image("other", 2),
        image("cam", 50),
        "labeled-data/img07.png",
        image("cam", 7),
    ]
    points = np.ones((6, len(NAMES), 2))
    points[5] = np.nan  # nothing is labelled
    found = evaluate(write_labels(tmp_path / "l.csv", images, points), out)
    assert found.images == (image("day1_top", 4),)
    assert found.n_labelled == 5
    assert found.notes == (
        "2 labelled frames are of videos without predictions here: other",
        "1 labelled frame is not named labeled-data/<video>/img<frame>.png: "
        "labeled-data/img07.png",
        f"1 labelled frame is beyond the end of the video: {image('cam', 50)}",
    )


def test_frames_and_keypoints_without_a_prediction(out: Path, tmp_path: Path) -> None:
    table = make_table(0)
    table.values[8, :, :2] = np.nan
    commit_table(out, "model_a", "cam", table.select(NAMES[:2]), Path("/v.mp4"))
    labels = write_labels(
        tmp_path / "l.csv", [image("cam", 8), image("cam", 9)], np.ones((2, len(NAMES), 2))
    )
    found = evaluate(labels, out)
    assert np.isnan(found.errors["model_a"]).tolist() == [[True] * 3, [False, False, True]]
    assert np.isfinite(found.errors["eks"]).all()
    assert found.notes == (f"1 labelled frame is without a prediction: {image('cam', 8)}",)


def test_labels_of_other_keypoints(out: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", [image("cam", 8)], np.ones((1, len(NAMES), 2)))
    labels.write_text(labels.read_text().replace("nose", "Nose").replace("paw", "Paw"))
    table = make_table(0).select(NAMES[:2])
    commit_table(out, "model_a", "cam", table, Path("/v.mp4"))
    found = evaluate(labels, out)
    note = "model_a predicts other keypoints (nose, paw) than the labels have (Nose, Paw, tail)"
    assert found.notes == (note, "keypoints without a label or a prediction: Nose, Paw")
    assert np.isnan(found.errors["model_a"]).all()
    for owner in ("model_b", "eks"):
        commit_table(out, owner, "cam", table, Path("/v.mp4"))
    with pytest.raises(UsageError, match="model_b predicts other keypoints") as caught:
        evaluate(labels, out)
    assert "without a prediction" not in caught.value.message


def test_a_frame_whose_only_label_is_of_a_keypoint_without_predictions(
    out: Path, tmp_path: Path
) -> None:
    for owner in ("model_a", "model_b", "eks"):
        commit_table(out, owner, "cam", make_table(0).select(NAMES[:2]), Path("/v.mp4"))
    points = np.ones((2, len(NAMES), 2))
    points[0, :2] = np.nan
    labels = write_labels(tmp_path / "l.csv", [image("cam", 8), image("cam", 9)], points)
    found = evaluate(labels, out)
    assert found.images == (image("cam", 9),)
    assert f"1 labelled frame is without a prediction: {image('cam', 8)}" in found.notes


def test_two_videos_whose_labels_share_a_folder(out: Path, tmp_path: Path) -> None:
    commit_table(out, "model_a", "day1_top", make_table(5), Path("/v.mp4"))
    labels = write_labels(
        tmp_path / "l.csv", [image("day1_top", 1), image("cam", 1)], np.ones((2, len(NAMES), 2))
    )
    found = evaluate(labels, out)
    assert found.images == (image("cam", 1),)
    assert found.notes == (
        "1 labelled frame is of a folder name that several videos share: day1_top",
    )


def test_labels_in_the_form_of_deeplabcut(out: Path, tmp_path: Path) -> None:
    rows = [
        ["scorer", "", "", *["me"] * 4],
        ["bodyparts", "", "", "nose", "nose", "tail", "tail"],
        ["coords", "", "", "x", "y", "x", "y"],
        ["labeled-data", "cam", "img0007.png", 10, 20, "", ""],
    ]
    path = tmp_path / "CollectedData_me.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = evaluate(path, out)
    assert found.images == ("labeled-data/cam/img0007.png",)
    expected = np.linalg.norm(make_table(0).xy[7, 0] - np.array([10, 20]))
    assert found.errors["model_a"][0, 0] == pytest.approx(expected)
    assert found.notes == ("keypoints without a label or a prediction: tail",)


def test_errors_as_csv(out: Path, tmp_path: Path) -> None:
    labels = write_labels(
        tmp_path / "l.csv", [image("cam", 1), image("cam", 2)], np.ones((2, len(NAMES), 2))
    )
    found = evaluate(labels, out)
    write_errors(tmp_path / "e.csv", found)
    table = pd.read_csv(tmp_path / "e.csv")
    assert list(table.columns) == ["image", "predictions", *NAMES]
    assert len(table) == 6
    row = table[(table["image"] == image("cam", 2)) & (table["predictions"] == "eks")]
    np.testing.assert_allclose(row[list(NAMES)].to_numpy()[0], found.errors["eks"][1], atol=1e-4)


def test_nothing_to_compare(out: Path, tmp_path: Path) -> None:
    labels = write_labels(tmp_path / "l.csv", [image("x", 1)], np.ones((1, len(NAMES), 2)))
    with pytest.raises(UsageError, match=r"can be compared .* of videos without .*: x"):
        evaluate(labels, out)
    with pytest.raises(LabelsError, match="no table of labels"):
        text = tmp_path / "t.csv"
        text.write_text("a,b\n1,2\n3,4\n")
        evaluate(text, out)


def test_what_can_not_be_computed_is_null() -> None:
    assert set(spread(np.array([np.nan])).values()) == {0, None}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("labeled-data/cam/img00000042.png", ("cam", 42)),
        ("labeled-data/cam2/img7.jpg", ("cam2", 7)),
        ("labeled-data\\cam\\img0007.png", ("cam", 7)),
        ("labeled-data/cam/frame.png", None),
        ("img07.png", None),
        ("labeled-data/img07.png", None),
    ],
)
def test_names_of_images(name: str, place: tuple[str, int] | None) -> None:
    assert frame_of_image(name) == place
