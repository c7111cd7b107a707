"""Metrics against what Lightning Pose computes from the same predictions and labels."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from raypose.errors import LabelsError, TableError
from raypose.limits import MAX_LABEL_PIXELS
from raypose.metrics.compute import (
    PCA_MULTIVIEW,
    PCA_SINGLEVIEW,
    TEMPORAL_NORM,
    PcaMetrics,
    compute_metrics,
    temporal_norm,
    wanted_metrics,
)
from raypose.metrics.labels import (
    read_label_file,
    read_training_labels,
    torch_permutation,
    training_split,
)
from raypose.specs import ModelSpec
from raypose.tables.keypoints import COORDS, KeypointTable, read_csv, write_csv
from tests.metric_tables import read_metric_csv
from tests.models import make_config

NAMES = ("paw_top", "nose_top", "tail_top", "paw_bot", "nose_bot", "tail_bot")
PCA_DATA: dict[str, Any] = {
    "columns_for_singleview_pca": [0, 1, 3, 5],
    "mirrored_column_matches": [[0, 1, 2], [3, 4, 5]],
}


def make_spec(config: dict[str, Any], **change: Any) -> ModelSpec:
    data = config["data"]
    parts: dict[str, Any] = {
        "name": "m",
        "directory": "/m",
        "config_path": "/m/config.yaml",
        "checkpoint": "/m/x.ckpt",
        "fingerprint": "",
        "model_type": config["model"]["model_type"],
        "backbone": "resnet18",
        "keypoint_names": tuple(data["keypoint_names"]),
        "image_height": data["image_resize_dims"]["height"],
        "image_width": data["image_resize_dims"]["width"],
        "config": config,
    }
    return ModelSpec(**{**parts, **change})


def make_config_with_pca(data_dir: Path, **loss: Any) -> dict[str, Any]:
    config = make_config(
        keypoint_names=NAMES, height=128, width=256, data_dir=data_dir, data=PCA_DATA
    )
    config["losses"] = {"pca_singleview": {"components_to_keep": 0.9, **loss}}
    return config


def make_labels(directory: Path, n: int = 60, seed: int = 0, gaps: float = 0.05) -> Path:
    """Labelled images of several sizes, poses of three degrees of freedom, some unlabelled."""
    rng = np.random.default_rng(seed)
    (directory / "labeled-data").mkdir(parents=True)
    latent = rng.normal(0, 20, (n, 3))
    poses = latent @ rng.normal(0, 1, (3, 12)) + rng.normal(0, 1.0, (n, 12)) + 100
    missing = np.repeat(rng.random((n, 6)) < gaps, 2, axis=1)
    poses[missing] = np.nan
    lines = [
        "scorer" + ",human" * 12,
        "bodyparts," + ",".join(name for name in NAMES for _ in "xy"),
        "coords" + ",x,y" * 6,
    ]
    for i, pose in enumerate(poses):
        name = f"labeled-data/img{i:03d}.{'png' if i % 2 else 'jpg'}"
        Image.new("L", (200 + 40 * (i % 3), 240)).save(directory / name)
        fields = ["" if np.isnan(v) else repr(float(v)) for v in pose]
        lines.append(",".join([name, *fields]))
    (directory / "CollectedData.csv").write_text("\n".join(lines) + "\n")
    return directory


def make_predictions(n: int = 80, seed: int = 5) -> KeypointTable:
    values = np.random.default_rng(seed).normal(120, 40, (n, 6, 3)).astype(np.float32)
    return KeypointTable("heatmap_tracker", NAMES, COORDS, values)


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (1, 0), (2, 7), (90, 0), (90, 42), (3001, 123)])
def test_permutation_is_that_of_torch(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    assert torch_permutation(n, seed) == torch.randperm(n, generator=generator).tolist()


def test_temporal_norm_is_the_length_of_each_step() -> None:
    values = np.zeros((4, 1, 3), dtype=np.float32)
    values[:, 0, :2] = [(0, 0), (3, 4), (3, 4), (np.nan, 0)]
    norm = temporal_norm(KeypointTable("s", ("a",), COORDS, values))
    np.testing.assert_array_equal(norm[:, 0], np.float32([np.nan, 5, 0, np.nan]))


@pytest.mark.parametrize("member", ["seed0", "seed1"])
def test_metrics_of_real_models_are_those_of_upstream(shared_data: Path, member: str) -> None:
    (directory,) = (shared_data / "models").glob(f"*/*-{member}")
    config = yaml.safe_load((directory / "config.yaml").read_text())
    spec = make_spec(config)
    pca = PcaMetrics.fit(spec, shared_data / "mirror-mouse-example")
    expected = shared_data / "expected" / member
    metrics = compute_metrics(read_csv(expected / "test_vid.csv"), spec, pca)
    assert tuple(metrics) == wanted_metrics(spec)
    for name, values in metrics.items():
        names, upstream = read_metric_csv(expected / f"test_vid_{name}.csv")
        assert names == spec.keypoint_names
        np.testing.assert_allclose(values, upstream, atol=2e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model_type", "training", "loss"),
    [
        ("heatmap", {}, {}),
        ("regression", {"train_frames": 25, "rng_seed_data_pt": 3}, {"components_to_keep": 2}),
        (
            "heatmap",
            {"train_prob": 0.6, "val_prob": 0.2, "train_frames": 0.9},
            {"components_to_keep": 1.0},
        ),
    ],
)
def test_pca_errors_are_those_of_lightning_pose(
    tmp_path: Path, model_type: str, training: dict[str, Any], loss: dict[str, Any]
) -> None:
    # Some labels lie outside their image: heatmap models leave them out, regression does not.
    from lightning_pose.api.model import _build_datamodule_pred
    from lightning_pose.metrics import compute_metrics_single
    from omegaconf import OmegaConf

    data_dir = make_labels(tmp_path / "data")
    config = make_config_with_pca(data_dir, **loss)
    config["training"].update(training)
    config["model"]["model_type"] = model_type
    table = make_predictions()
    table.values[7, 1] = np.nan
    write_csv(table, tmp_path / "t.csv")
    cfg = OmegaConf.create(config)
    compute_metrics_single(cfg, None, tmp_path / "t.csv", _build_datamodule_pred(cfg))

    spec = make_spec(config)
    metrics = compute_metrics(table, spec, PcaMetrics.fit(spec))
    assert set(metrics) == {TEMPORAL_NORM, PCA_SINGLEVIEW, PCA_MULTIVIEW}
    for name, values in metrics.items():
        _, upstream = read_metric_csv(tmp_path / f"t_{name}.csv")
        np.testing.assert_allclose(values, upstream, atol=1e-3, rtol=0)


def test_centred_poses_are_compared_with_centred_poses(tmp_path: Path) -> None:
    """Upstream subtracts the centre on one side only, so its error is about the centre's size."""
    data_dir = make_labels(tmp_path / "data", gaps=0.0)
    spec = make_spec(make_config_with_pca(data_dir, centering_method="mean"))
    pca = PcaMetrics.fit(spec)
    assert pca.singleview is not None
    flat = make_predictions()
    moved = KeypointTable("s", NAMES, COORDS, flat.values + np.float32(50.0))
    at_rest = compute_metrics(flat, spec, pca)[PCA_SINGLEVIEW]
    np.testing.assert_allclose(
        compute_metrics(moved, spec, pca)[PCA_SINGLEVIEW], at_rest, atol=1e-3, rtol=0
    )


def test_too_few_labels_leave_the_single_view_error_out(tmp_path: Path) -> None:
    data_dir = make_labels(tmp_path / "data", n=6, gaps=0.0)
    spec = make_spec(make_config_with_pca(data_dir))
    metrics = compute_metrics(make_predictions(), spec, PcaMetrics.fit(spec))
    assert set(metrics) == {TEMPORAL_NORM, PCA_MULTIVIEW}


def test_which_metrics_are_wanted_comes_from_the_config(tmp_path: Path) -> None:
    config = make_config_with_pca(tmp_path)
    assert wanted_metrics(make_spec(config)) == (TEMPORAL_NORM, PCA_SINGLEVIEW, PCA_MULTIVIEW)
    assert wanted_metrics(make_spec(config, view_names=("top", "bot"))) == (TEMPORAL_NORM,)
    plain = make_spec(make_config(keypoint_names=NAMES))
    assert wanted_metrics(plain) == (TEMPORAL_NORM,)
    assert PcaMetrics.fit(plain).singleview is None
    assert set(compute_metrics(make_predictions(), plain, None)) == {TEMPORAL_NORM}


def test_missing_labels_say_what_to_do(tmp_path: Path) -> None:
    spec = make_spec(make_config_with_pca(tmp_path / "moved"))
    with pytest.raises(LabelsError, match="--data-dir") as caught:
        PcaMetrics.fit(spec)
    assert caught.value.path == str(tmp_path / "moved" / "CollectedData.csv")
    PcaMetrics.fit(spec, make_labels(tmp_path / "here"))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace("labeled-data", "elsewhere"), "none of its 54 images"),
        (lambda text: text[: len(text) // 2].rsplit(",", 3)[0], "can't be read"),
        (lambda text: "a,b\n1,2\n", "no table of labels"),
        (lambda text: text.replace("coords,x,y", "coords,x,z"), "no table of labels"),
        (lambda text: text.replace(",", ",?", 60), "can't be read|no table"),
        (lambda text: "".join(text.splitlines(True)[:3]), "no labelled frame in it"),
        (lambda text: "".join(text.splitlines(True)[:4]), "1 labelled frames are too few"),
        (lambda text: re.sub(r"[0-9]+\.[0-9]{4,}", "1e999", text, count=1), "is no position"),
        (lambda text: re.sub(r"[0-9]+\.[0-9]{4,}", "1e30", text, count=1), "is no position"),
    ],
)
def test_spoilt_labels_are_named(tmp_path: Path, spoil: Any, says: str) -> None:
    data_dir = make_labels(tmp_path / "data")
    path = data_dir / "CollectedData.csv"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(LabelsError, match=says):
        PcaMetrics.fit(make_spec(make_config_with_pca(data_dir)))


def test_an_image_that_is_missing_costs_its_own_label_alone(tmp_path: Path) -> None:
    data_dir = make_labels(tmp_path / "data", gaps=0.0)
    spec = make_spec(make_config_with_pca(data_dir))
    whole, _ = read_training_labels(spec, None)
    # The third label of the fit; the images of its folder are of three sizes.
    image = training_split(60, spec.config["training"])[2]
    (gone,) = (data_dir / "labeled-data").glob(f"img{image:03d}.*")
    gone.unlink()
    labels, without_image = read_training_labels(spec, None)
    assert without_image == (f"labeled-data/{gone.name}",)
    np.testing.assert_array_equal(labels, np.delete(whole, 2, axis=0))
    assert set(compute_metrics(make_predictions(), spec, PcaMetrics.fit(spec))) == {
        TEMPORAL_NORM,
        PCA_SINGLEVIEW,
        PCA_MULTIVIEW,
    }


def test_an_image_beside_others_of_one_size_is_not_missed(tmp_path: Path) -> None:
    data_dir = make_labels(tmp_path / "data", gaps=0.0)
    for image in (data_dir / "labeled-data").iterdir():
        Image.new("L", (320, 240)).save(image)
    spec = make_spec(make_config_with_pca(data_dir))
    whole, _ = read_training_labels(spec, None)
    image = training_split(60, spec.config["training"])[0]
    (gone,) = (data_dir / "labeled-data").glob(f"img{image:03d}.*")
    gone.write_bytes(b"no image")
    labels, without_image = read_training_labels(spec, None)
    assert without_image == ()
    np.testing.assert_array_equal(labels, whole)


def test_labelled_images_that_are_pipes(tmp_path: Path) -> None:
    data_dir = make_labels(tmp_path / "data")
    for image in (data_dir / "labeled-data").iterdir():
        image.unlink()
        os.mkfifo(image)
    with pytest.raises(LabelsError, match="images can be read"):
        PcaMetrics.fit(make_spec(make_config_with_pca(data_dir)))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_labels(tmp_path_factory.mktemp("labels") / "data", n=8) / "CollectedData.csv"


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=30), st.integers(0, 1500), st.integers(0, 40))
def test_any_bytes_give_a_fit_or_an_error(
    labels: Path, content: bytes, at: int, n_replaced: int
) -> None:
    spec, intact = make_spec(make_config_with_pca(labels.parent)), labels.read_bytes()
    try:
        for data in (content, intact[:at] + content + intact[at + n_replaced :]):
            labels.write_bytes(data)
            try:
                PcaMetrics.fit(spec)
            except LabelsError as error:
                assert error.path
    finally:
        labels.write_bytes(intact)


def test_labels_of_another_project_are_named(tmp_path: Path) -> None:
    data_dir = make_labels(tmp_path / "data")
    config = make_config_with_pca(data_dir)
    config["data"]["keypoint_names"] = [*NAMES, "seventh"]
    with pytest.raises(LabelsError, match="labels 6 keypoints, the model has 7"):
        PcaMetrics.fit(make_spec(config))


def test_columns_beyond_the_keypoints_are_named(tmp_path: Path) -> None:
    config = make_config_with_pca(make_labels(tmp_path / "data"))
    config["data"]["columns_for_singleview_pca"] = [0, 9]
    with pytest.raises(LabelsError, match="columns_for_singleview_pca"):
        PcaMetrics.fit(make_spec(config))


def test_a_table_of_other_keypoints_is_refused() -> None:
    table = KeypointTable("s", ("a",), COORDS, np.zeros((2, 1, 3), np.float32))
    spec = make_spec(make_config(keypoint_names=NAMES))
    with pytest.raises(TableError, match="missing"):
        compute_metrics(table, spec, PcaMetrics(columns=(0,)))


def test_some_of_the_keypoints_have_a_temporal_norm() -> None:
    table = KeypointTable("s", NAMES[1:2], COORDS, np.zeros((2, 1, 3), np.float32))
    metrics = compute_metrics(table, make_spec(make_config(keypoint_names=NAMES)), None)
    assert metrics[TEMPORAL_NORM].shape == (2, 1)


def test_a_split_needs_two_labels() -> None:
    assert len(training_split(2, {"train_prob": 0.9, "val_prob": 0.1})) == 1
    assert training_split(1, {}) == []


def test_metrics_that_labels_are_too_few_for(tmp_path: Path) -> None:
    specs = [make_spec(make_config_with_pca(make_labels(tmp_path / f"{n}", n=n))) for n in (60, 8)]
    enough, few = map(PcaMetrics.fit, specs)
    assert enough.metrics == (TEMPORAL_NORM, PCA_SINGLEVIEW, PCA_MULTIVIEW)
    assert not enough.too_few
    (said,) = few.too_few
    assert said.startswith(f"{PCA_SINGLEVIEW} is left out: its fit needs 8 labelled frames")
    for spec, fit in zip(specs, (enough, few), strict=True):
        assert tuple(compute_metrics(make_predictions(), spec, fit)) == fit.metrics


def test_the_farthest_label(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    head = "scorer,me,me\nbodyparts,nose,nose\ncoords,x,y\nlabeled-data/v/img0.png,"
    path.write_text(f"{head}{MAX_LABEL_PIXELS - 1},5\n")
    assert read_label_file(path).points.tolist() == [[[MAX_LABEL_PIXELS - 1, 5]]]
    path.write_text(f"{head}{MAX_LABEL_PIXELS},5\n")
    with pytest.raises(LabelsError, match="is no position in an image"):
        read_label_file(path)
