"""Values that are not finite: an error with model, video and frame, and never an empty field."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from raypose.errors import Failure, ModelError
from raypose.inference.artifact import build_artifact, load_network
from raypose.inference.loop import MemberResult
from raypose.inference.predictor import Predictor
from raypose.inputs.models import open_model
from raypose.specs import ModelSpec
from raypose.video.frames import without_picture
from tests.predictions import predict_video
from tests.unit.inference.conftest import smooth_frames
from tests.videos import damage_packets, make_video

N = 23


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clouds = smooth_frames(N, 80, 112)
    path = tmp_path_factory.mktemp("video") / "clouds.mp4"
    return make_video(
        path, n_frames=N, width=112, height=80, gop=8, picture=lambda i, *_: clouds[i]
    )


def spoil(predictor: Predictor, part: str, where: tuple[int, ...], value: float) -> Predictor:
    """Let the network overflow: one value of every batch is not finite."""
    intact = getattr(predictor.network, part)

    def spoilt(inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = intact(inputs).clone()
        outputs[where] = value
        return outputs

    predictor.network = dataclasses.replace(predictor.network, **{part: spoilt})
    return predictor


def check(result: MemberResult | Failure, video: Path, told: str) -> None:
    assert isinstance(result, Failure)
    assert (result.error, result.path) == ("VideoError", str(video))
    assert told in result.message
    assert "the model m " in result.message


def test_heatmaps(video: Path, make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec()
    broken = spoil(Predictor(spec), "forward", (3, 1), float("nan"))
    failed, fine = predict_video(video, [broken, Predictor(spec)], batch_size=8)
    check(failed, video, "for 3 frames, first for paw in frame 3 (computed in float32)")
    assert isinstance(fine, MemberResult)
    (failed,) = predict_video(video, [broken], batch_size=8, start=9, stop=16)
    check(failed, video, "for 1 frames, first for paw in frame 12")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_coordinates(video: Path, make_spec: Callable[..., ModelSpec], value: float) -> None:
    spec = make_spec(model_type="regression")
    (failed,) = predict_video(
        video, [spoil(Predictor(spec), "forward", (0, 2, 1), value)], batch_size=64
    )
    check(failed, video, "for 1 frames, first for tail in frame 0")


@pytest.mark.parametrize("head", [0, 1])
def test_one_head_does_not_hide_the_other(
    video: Path, make_spec: Callable[..., ModelSpec], head: int
) -> None:
    spec = make_spec(model_type="heatmap_mhcrnn")
    broken = spoil(Predictor(spec), "heads", (head, 5, 0), float("nan"))
    (failed,) = predict_video(video, [broken], batch_size=64)
    check(failed, video, "for 1 frames, first for nose in frame 7")


def test_frames_that_cannot_be_decoded_are_no_such_failure(
    video: Path, tmp_path: Path, make_spec: Callable[..., ModelSpec]
) -> None:
    damaged = damage_packets(video, tmp_path / "damaged.mp4", range(10, 12))
    (result,) = predict_video(damaged, [Predictor(make_spec())])
    assert isinstance(result, MemberResult)
    lost = np.isnan(result.values[..., 0]).all(axis=1)
    assert lost.sum() == without_picture(result.frames.statuses).sum() > 0


def test_weights_too_large_for_half_precision(make_spec: Callable[..., ModelSpec]) -> None:
    spec = make_spec(seed=5)
    content = torch.load(spec.checkpoint, weights_only=False)
    content["state_dict"]["head.upsampling_layers.1.weight"].view(-1)[0] = 1e6
    torch.save(content, spec.checkpoint)
    artifact = build_artifact(open_model(spec.directory))
    load_network(artifact, "cpu", "bf16")
    with pytest.raises(ModelError, match=r"x/m: weights of this model are too large for fp16"):
        load_network(artifact, "cpu", "fp16", path="x/m")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_fails_the_model(
    make_spec: Callable[..., ModelSpec], value: float
) -> None:
    spec = make_spec(seed=6)
    content = torch.load(spec.checkpoint, weights_only=False)
    content["state_dict"]["head.upsampling_layers.1.bias"][1] = value
    torch.save(content, spec.checkpoint)
    with pytest.raises(ModelError, match=r"not finite \(head\.upsampling_layers\.1\.bias\)"):
        build_artifact(open_model(spec.directory))
