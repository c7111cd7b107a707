"""Where outputs go, against the file names that Lightning Pose and the Pose-app use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raypose.storage import as_path
from raypose.storage.layout import (
    METRICS,
    Layout,
    output_paths,
    owner_root,
    paths_of_table,
    points_path,
    smooth_params_path,
)

ROOT = Path("/models/a")


def test_app_layout() -> None:
    paths = output_paths(ROOT, "cam", "app")
    base = ROOT / "video_preds"
    assert paths.predictions == base / "cam.csv"
    assert paths.metric("temporal_norm") == base / "cam_temporal_norm.csv"
    assert paths.quality == base / "cam_quality.json"
    assert paths.labeled == base / "labeled_videos" / "cam_labeled.mp4"
    assert paths.snippet == base / "snippets" / "cam.short.mp4"
    assert smooth_params_path(ROOT, "cam") == ROOT / "smooth_params" / "cam.json"
    assert points_path(ROOT, "rec") == ROOT / "points_3d" / "rec.csv"


@pytest.mark.parametrize("layout", ["app", "pose-app"])
def test_the_files_beside_a_table(layout: Layout) -> None:
    paths = output_paths(ROOT, "day1/cam", layout)
    assert paths_of_table(paths.predictions) == paths


def test_pose_app_layout() -> None:
    paths = output_paths(ROOT, "cam", "pose-app")
    base = ROOT / "video_preds_infer"
    assert paths.predictions == base / "cam.csv"
    assert paths.metric("pca_singleview_error") == base / "cam_pca_singleview_error.csv"
    assert paths.labeled == base / "cam.labeled.mp4"
    assert paths.snippet == base / "cam.short.mp4"
    assert paths.snippet_predictions == base / "cam.short.csv"
    assert paths.snippet_metric("temporal_norm") == base / "cam.short_temporal_norm.csv"
    assert paths.snippet_labeled == base / "cam.short.labeled.mp4"


def test_mirrored_folders() -> None:
    paths = output_paths(ROOT, "day1/left/cam", "app")
    assert paths.predictions == ROOT / "video_preds" / "day1" / "left" / "cam.csv"
    params = smooth_params_path(ROOT, "day1/left/cam")
    assert params == ROOT / "smooth_params" / "day1" / "left" / "cam.json"


@pytest.mark.parametrize("stem", ["a.b", "cam.mp4", " spaced out ", "-x", "naïve 'q\" ☃", "50%"])
def test_stems_are_kept_as_they_are(stem: str) -> None:
    paths = output_paths(ROOT, stem, "app")
    assert paths.predictions.name == f"{stem}.csv"
    assert paths.labeled.name == f"{stem}_labeled.mp4"


@pytest.mark.parametrize("layout", ["app", "pose-app"])
def test_no_two_outputs_share_a_path(layout: Layout) -> None:
    paths = output_paths(ROOT, "cam", layout)
    files = [
        paths.predictions,
        paths.labeled,
        paths.snippet,
        paths.snippet_predictions,
        paths.snippet_labeled,
        smooth_params_path(ROOT, "cam"),
        points_path(ROOT, "cam"),
        *map(paths.metric, METRICS),
        *map(paths.snippet_metric, METRICS),
    ]
    assert len(set(files)) == len(files)


def test_only_predictions_and_metrics_lie_where_the_app_looks() -> None:
    paths = output_paths(ROOT, "cam", "app")
    others = [paths.labeled, paths.snippet, paths.snippet_predictions, paths.frames]
    others += [smooth_params_path(ROOT, "cam"), points_path(ROOT, "cam")]
    assert all(path.parent != paths.folder for path in others)


def test_owner_root() -> None:
    assert owner_root("a", None, Path("/models/a")) == Path("/models/a")
    assert owner_root("a", Path("/out"), Path("/models/a")) == Path("/out/a")
    assert owner_root("eks", Path("/out"), None) == Path("/out/eks")


def test_names_of_any_bytes_are_written_out_in_a_store_alone() -> None:
    name = os.fsdecode(b"day\xfe/cam\xff\x1b\n")
    stored = as_path("s3://bucket/out")
    root = owner_root(os.fsdecode(b"m\xfd"), stored, None)
    assert str(root) == r"s3://bucket/out/m\xfd"
    paths = output_paths(root, name, "app")
    assert str(paths.predictions) == str(root) + r"/video_preds/day\xfe/cam\xff\x1b\n.csv"
    assert smooth_params_path(root, name).name == r"cam\xff\x1b\n.json"
    assert points_path(root, name).name == r"cam\xff\x1b\n.csv"
    assert output_paths(ROOT, name, "app").predictions == ROOT / "video_preds" / f"{name}.csv"
