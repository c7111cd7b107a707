"""Predictors of every kind against Lightning Pose's own `predict_step` on the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from raypose.errors import ModelError
from raypose.inference import artifact
from raypose.inference.artifact import build_artifact, cached_artifact, is_cached, load_network
from raypose.inference.network import load_module, offline_backbones
from raypose.inference.predictor import Predictor, batch_size_that_fits
from raypose.inference.preprocess import FrameBatch, RgbFrames, clamp_bboxes
from raypose.inputs.models import open_model
from raypose.specs import ModelSpec
from tests.models import make_model
from tests.predictions import predict_frames
from tests.unit.inference.conftest import (
    smooth_frames,
    upstream_images,
    upstream_model,
    upstream_prediction,
)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"backbone": "efficientnet_b0", "height": 96, "width": 64},
        {"backbone": "vits_dino"},
        {"backbone": "vits_dinov2"},
        {"downsample_factor": 1},
        {"downsample_factor": 3, "height": 128, "width": 128},
    ],
    ids=str,
)
def test_heatmap_models(make_spec: Callable[..., ModelSpec], arguments: dict[str, object]) -> None:
    spec = make_spec(**arguments)
    frames = smooth_frames(7, 100, 120)
    got = predict_frames(Predictor(spec), frames).numpy()
    expected = upstream_prediction(spec, frames)
    assert got.shape == (7, 3, 3)
    confident = expected[..., 2] > 0.1
    assert confident.mean() > 0.2
    assert np.abs(got - expected)[..., :2][confident].max() < 0.01
    assert np.abs(got - expected)[..., 2].max() < 1e-3


def test_regression_is_in_the_frame(make_spec: Callable[..., ModelSpec]) -> None:
    """Lightning Pose leaves videos' coordinates in the resized image, and scales single frames."""
    spec = make_spec(model_type="regression", height=64, width=128)
    frames = smooth_frames(5, 100, 120)
    in_image = upstream_prediction(spec, frames)
    got = predict_frames(Predictor(spec), frames).numpy()
    np.testing.assert_allclose(got[..., 0], in_image[..., 0] / 128 * 120, atol=0.01)
    np.testing.assert_allclose(got[..., 1], in_image[..., 1] / 64 * 100, atol=0.01)
    assert (got[..., 2] == 1).all()


def test_context_models(make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec(model_type="heatmap_mhcrnn")
    frames = smooth_frames(12, 100, 120)
    got = predict_frames(Predictor(spec), frames, batch_size=5).numpy()
    expected = upstream_prediction(spec, frames)  # of the frames that have two on either side
    assert got.shape == (12, 3, 3)
    confident = expected[..., 2] > 0.1
    assert np.abs(got[2:-2] - expected)[..., :2][confident].max() < 0.01
    assert np.abs(got[2:-2] - expected)[..., 2].max() < 1e-3
    np.testing.assert_array_equal(got[:2], got[[2, 2]])
    np.testing.assert_array_equal(got[-2:], got[[-3, -3]])


@pytest.mark.parametrize("n", [1, 2, 4])
def test_context_model_on_fewer_frames_than_a_window(
    make_spec: Callable[..., ModelSpec], n: int
) -> None:
    """Lightning Pose predicts nothing here; its padding of sequences in training is the rule."""
    spec = make_spec(model_type="heatmap_mhcrnn")
    frames = smooth_frames(n, 100, 120)
    got = predict_frames(Predictor(spec), frames).numpy()
    padded = np.concatenate((frames[[0, 0]], frames, frames[[-1, -1]]))
    expected = upstream_prediction(spec, padded)
    assert np.abs(got - expected)[..., :2][expected[..., 2] > 0.1].max() < 0.01


def test_bounding_boxes(make_spec: Callable[..., ModelSpec]) -> None:
    from lightning_pose.data.bboxes import crop_and_resize_frames

    spec = make_spec()
    frames = smooth_frames(4, 100, 120)
    boxes = clamp_bboxes(
        np.array([[10, 20, 60, 50], [0, 0, 100, 120], [70, 60, 99, 99], [-9, 5, 40, 80]]), 100, 120
    )
    import pandas as pd
    from lightning_pose.data.video.utils import normalize_frames

    whole = normalize_frames(torch.from_numpy(frames).permute(0, 3, 1, 2), None)
    table = pd.DataFrame(boxes, columns=["x", "y", "h", "w"])
    crops, used = crop_and_resize_frames(whole, table, [64, 64])
    batch = {"frames": crops, "bbox": used, "is_multiview": False}
    expected = upstream_prediction(spec, frames, batch=batch)
    got = predict_frames(Predictor(spec), frames, boxes).numpy()
    confident = expected[..., 2] > 0.1
    assert np.abs(got - expected)[..., :2][confident].max() < 0.01


def test_any_batch_size_gives_the_same(make_spec: Callable[..., ModelSpec]) -> None:
    predictor = Predictor(make_spec())
    frames = smooth_frames(9, 100, 120)
    at_once = predict_frames(predictor, frames)
    for size in (1, 2, 4, 8):
        got = predict_frames(predictor, frames, batch_size=size)
        torch.testing.assert_close(got, at_once, atol=1e-3, rtol=0)


def test_names_of_pretrained_backbones_download_nothing(tmp_path: Path) -> None:
    """Lightning Pose fetches weights for these, whatever `pretrained` says."""
    directory = make_model(tmp_path, backbone="resnet50")
    config = directory / "config.yaml"
    config.write_text(config.read_text().replace("resnet50", "resnet50_animal_ap10k"))
    spec = open_model(directory)
    checkpoint = torch.load(spec.checkpoint, weights_only=False)
    checkpoint["hyper_parameters"]["backbone"] = "resnet50_animal_ap10k"
    checkpoint["hyper_parameters"]["pretrained"] = True
    torch.save(checkpoint, spec.checkpoint)
    spec = open_model(directory)
    module, architecture = load_module(spec)
    assert architecture.backbone == "resnet50_animal_ap10k"
    assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 16, 16)


def test_multiview_transformer(make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec(
        model_type="heatmap_multiview_transformer",
        backbone="vits_dino",
        view_names=("top", "side"),
    )
    views = [smooth_frames(3, 100, 120), smooth_frames(3, 90, 80, seed=1)]
    images = [upstream_images(frames, 64, 64) for frames in views]
    whole = [[0, 0, *frames.shape[1:3]] for frames in views]
    batch = {
        "frames": torch.stack(images, dim=1),
        "bbox": torch.tensor([[*whole[0], *whole[1]]] * 3, dtype=torch.float32),
        "is_multiview": True,
    }
    built = build_artifact(spec)
    assert b'"torchscript"' in built[:400]
    predictor = Predictor(spec, built)
    with torch.inference_mode():
        heatmaps = upstream_model(spec)(batch["frames"])
        ours = predictor.network.forward(batch["frames"])
        keypoints, confidence = upstream_model(spec).predict_step(batch, 0)
    assert ours.shape == (3, 6, 16, 16)
    torch.testing.assert_close(ours, heatmaps, atol=1e-5, rtol=1e-4)
    got = predict_frames(predictor, views)
    assert got.shape == (3, 6, 3)
    sure = confidence > 0.1
    assert sure.any()
    assert (got[..., :2] - keypoints.view(3, 6, 2))[sure].abs().max() < 0.01
    torch.testing.assert_close(got[..., 2], confidence, atol=1e-3, rtol=0)
    # Boxes of whole frames say the same.
    boxes = [np.array([box] * 3) for box in whole]
    torch.testing.assert_close(predict_frames(predictor, views, boxes), got, atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vits_dinov3", "vitb_sam", "vitt_sam2"])
def test_transformers_give_the_same_heatmaps(
    make_spec: Callable[..., ModelSpec], backbone: str
) -> None:
    spec = make_spec(backbone=backbone)
    images = upstream_images(smooth_frames(3, 100, 120), 64, 64)
    with torch.inference_mode():
        expected = upstream_model(spec)(images)
        got = load_network(build_artifact(spec)).forward(images)
    assert expected.std() > 1e-6
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-3)


def test_unknown_transformer_is_not_downloaded() -> None:
    from transformers import AutoModel, ViTModel

    downloads = AutoModel.from_pretrained.__func__
    with offline_backbones(), pytest.raises(ModelError, match="someone/new without downloading"):
        ViTModel.from_pretrained("someone/new")
    assert AutoModel.from_pretrained.__func__ is downloads


def test_an_artifact_needs_no_lightning_pose(
    make_spec: Callable[..., ModelSpec], tmp_path: Path
) -> None:
    import subprocess
    import sys

    path = tmp_path / "artifact"
    path.write_bytes(build_artifact(make_spec()))
    code = (
        "import sys, pathlib, torch; from raypose.inference.artifact import load_network; "
        f"network = load_network(pathlib.Path({str(path)!r}).read_bytes()); "
        "print(tuple(network.forward(torch.zeros(2, 3, 64, 64)).shape)); "
        "sys.exit('lightning_pose' in sys.modules or 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"(2, 3, 16, 16)\n"), done.stderr


def test_cache(
    make_spec: Callable[..., ModelSpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path))
    spec = make_spec(seed=5)
    assert not is_cached(spec)
    built = cached_artifact(spec)
    assert is_cached(spec)
    (file,) = (tmp_path / "graphs").iterdir()
    assert cached_artifact(spec) == built
    file.write_bytes(built[:-100])  # damaged: rebuilt
    assert load_network(cached_artifact(spec)).architecture.backbone == "resnet18"
    assert load_network(file.read_bytes()).architecture.backbone == "resnet18"
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", "/proc/nobody/can/write/here")
    assert load_network(cached_artifact(spec)).architecture.n_keypoints == 3


def test_tf32_is_chosen_whatever_torch_has_as_its_default(
    make_spec: Callable[..., ModelSpec],
) -> None:
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True
    load_network(build_artifact(make_spec()))
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_damaged_artifact(make_spec: Callable[..., ModelSpec]) -> None:
    built = build_artifact(make_spec())
    for content in (b"", b"junk", built[:2000], built[:-1] + b"x"):
        with pytest.raises(ModelError, match="can't be used"):
            load_network(content)


def test_network_that_cannot_be_traced_travels_as_weights(
    make_spec: Callable[..., ModelSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "_TOLERANCE", -1.0)  # no trace is exact enough
    spec = make_spec()
    built = build_artifact(spec)
    monkeypatch.undo()
    frames = smooth_frames(3, 80, 80)
    expected = predict_frames(Predictor(spec), frames)
    torch.testing.assert_close(
        predict_frames(Predictor(spec, built), frames), expected, atol=1e-3, rtol=0
    )


def test_config_and_checkpoint_that_do_not_belong_together(tmp_path: Path) -> None:
    directory = make_model(tmp_path)
    config = directory / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("  - nose\n", ""))
    with pytest.raises(ModelError, match="3 keypoints, and the config names 2"):
        build_artifact(open_model(directory))
    config.write_text(text.replace("model_type: heatmap", "model_type: regression"))
    with pytest.raises(ModelError, match="does not fit the network"):
        build_artifact(open_model(directory))


@pytest.mark.parametrize(("precision", "limit"), [("bf16", 3.0), ("fp16", 0.3)])
def test_half_precisions_run(
    make_spec: Callable[..., ModelSpec], precision: str, limit: float
) -> None:
    spec = make_spec()
    frames = smooth_frames(4, 100, 120)
    exact = predict_frames(Predictor(spec), frames)
    half = predict_frames(Predictor(spec, precision=precision), frames)
    assert half.dtype == torch.float32
    confident = exact[..., 2] > 0.9
    assert (half - exact)[..., :2][confident].abs().median() < limit


def test_batch_size_follows_memory() -> None:
    gib = 2**30
    assert batch_size_that_fits(140 * gib, 0.05 * gib) == 256
    assert batch_size_that_fits(8 * gib, 0.1 * gib) == 32
    assert batch_size_that_fits(1 * gib, 2 * gib) == 1


def test_shared_models_agree_with_expected_images(shared_data: Path) -> None:
    directory = shared_data / "models" / "2026-11-01" / "10-00-00-effb0-seed0"
    spec = open_model(directory)
    import cv2

    image = cv2.imread(str(shared_data / "mirror-mouse-example" / "labeled-data" / "img27.png"))
    frames = np.ascontiguousarray(image[None, ..., ::-1])
    module, _ = load_module(spec)
    with torch.inference_mode():
        heatmaps = module(upstream_images(frames, 128, 128))
    predictor = Predictor(spec)
    with torch.inference_mode():
        batch = FrameBatch((RgbFrames(torch.from_numpy(frames)),))
        got = predictor.network.forward(predictor.prepare(batch))
    torch.testing.assert_close(got, heatmaps, atol=1e-5, rtol=0)
