"""What decoding on a GPU shares with a CPU: the comparison, the fallback, whole predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raypose.inference import nvdec
from raypose.inference.loop import MemberResult
from raypose.inference.nvdec import disagreement, unsupported_reason
from raypose.inference.predictor import Predictor
from raypose.specs import ModelSpec
from raypose.video.decoding import iter_frames
from raypose.video.index import index_video
from tests.predictions import predict_video
from tests.unit.inference.conftest import smooth_frames
from tests.videos import damage_packets, make_video

CPU = torch.device("cpu")


def clouds(path: Path, **options: Any) -> Path:
    frames = smooth_frames(20, 80, 112)
    return make_video(
        path, n_frames=20, width=112, height=80, picture=lambda i, w, h: frames[i], **options
    )


def test_frames_that_differ_are_noticed(tmp_path: Path) -> None:
    index = index_video(clouds(tmp_path / "clouds.mp4", colorspace=1, color_range=2))
    assert disagreement(index, iter_frames(index, 0, 4), CPU) == ""
    dark = smooth_frames(20, 80, 112) // 2
    other = make_video(
        tmp_path / "dark.mp4", n_frames=20, width=112, height=80, picture=lambda i, w, h: dark[i]
    )
    found = disagreement(index, iter_frames(index_video(other), 0, 4), CPU)
    assert "differ by up to" in found
    small = index_video(make_video(tmp_path / "small.mp4"))
    assert "differ by up to 255" in disagreement(index, iter_frames(small, 0, 4), CPU)
    lost = damage_packets(clouds(tmp_path / "intra.mp4", gop=1), tmp_path / "bad.mp4", [2])
    frames = iter_frames(index_video(lost), 0, 4)
    assert "drops some" in disagreement(index_video(tmp_path / "intra.mp4"), frames, CPU)


@pytest.mark.parametrize(
    ("options", "device", "reason"),
    [
        ({}, "cpu", "not on a GPU"),
        ({"pix_fmt": "yuv444p"}, "cuda:0", "yuv444p"),
        ({"codec": "ffv1"}, "cuda:0", "ffv1"),
    ],
)
def test_why_not(options: dict[str, Any], device: str, reason: str, tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "video.mkv", **options))
    assert reason in unsupported_reason(index, torch.device(device))


def test_a_video_is_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = index_video(make_video(tmp_path / "video.mp4"))
    compared = []
    monkeypatch.setattr(nvdec, "disagreement", lambda index, *_: compared.append(index) or "no")
    assert [unsupported_reason(index, torch.device("cuda:0")) for _ in range(3)] == ["no"] * 3
    assert compared == [index]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_driver_is_a_reason(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "video.mp4"))
    assert "NVDEC can't decode it" in unsupported_reason(index, torch.device("cuda:0"))


def test_the_fallback_to_the_cpu_is_reported(
    make_spec: Callable[..., ModelSpec], tmp_path: Path
) -> None:
    video = clouds(tmp_path / "clouds.mp4")
    predictor = Predictor(make_spec())
    (plain,) = predict_video(video, [predictor])
    (asked,) = predict_video(video, [predictor], decoder="nvdec")
    assert isinstance(plain, MemberResult)
    assert isinstance(asked, MemberResult)
    assert plain.fallback_reason == ""
    assert asked.fallback_reason == "the network is not on a GPU"
    np.testing.assert_array_equal(plain.values, asked.values)


@pytest.mark.parametrize("model_type", ["heatmap", "heatmap_mhcrnn"])
def test_predictions_from_such_frames(
    model_type: str,
    make_spec: Callable[..., ModelSpec],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The loop takes tensors, with gaps too."""
    whole = clouds(tmp_path / "whole.mp4", gop=1)
    video = damage_packets(whole, tmp_path / "damaged.mp4", [3, 9])
    predictor = Predictor(make_spec(model_type=model_type))
    (expected,) = predict_video(video, [predictor])
    monkeypatch.setattr(nvdec, "unsupported_reason", lambda index, device: "")
    monkeypatch.setattr(nvdec, "nvdec", lambda device: None)
    monkeypatch.setattr(nvdec, "is_surface", lambda frame: True)
    (got,) = predict_video(video, [predictor], decoder="nvdec", batch_size=6)
    assert isinstance(expected, MemberResult)
    assert isinstance(got, MemberResult)
    assert np.isnan(got.values[[3, 9], :, :2]).all()
    np.testing.assert_allclose(got.values, expected.values, atol=2e-3)


@pytest.mark.gpu
def test_nvdec_agrees_with_the_cpu(tmp_path: Path) -> None:
    assert (
        unsupported_reason(index_video(clouds(tmp_path / "clouds.mp4")), torch.device("cuda:0"))
        == ""
    )
