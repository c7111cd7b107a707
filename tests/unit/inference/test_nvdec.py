"""What decoding on a GPU shares with a CPU: colours, batches, the comparison, the fallback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from raypose.inference import nvdec
from raypose.inference.loop import MemberResult
from raypose.inference.nvdec import DeviceReader, disagreement, unsupported_reason
from raypose.inference.predictor import Predictor
from raypose.inference.preprocess import nv12_to_rgb
from raypose.specs import ModelSpec
from raypose.video.index import VideoIndex, index_video
from raypose.video.reader import FrameReader
from tests.predictions import predict_video
from tests.unit.inference.conftest import smooth_frames
from tests.videos import damage_packets, make_video

CPU = torch.device("cpu")
COLOURS: dict[str, dict[str, Any]] = {
    "plain": {},
    "709": {"colorspace": 1},
    "full": {"color_range": 2},
    "full709": {"color_range": 2, "colorspace": 1},
    "turned": {"rotation": 90},
}


def clouds(path: Path, **options: Any) -> Path:
    frames = smooth_frames(20, 80, 112)
    return make_video(
        path, n_frames=20, width=112, height=80, picture=lambda i, w, h: frames[i], **options
    )


def read(index: VideoIndex, **options: int) -> tuple[np.ndarray, np.ndarray]:
    with DeviceReader(index, CPU, None, **options) as reader:
        batches = list(reader)
    assert [batch.first for batch in batches] == list(
        range(options.get("start", 0), options.get("stop", 20), options["batch_size"])
    )
    return (
        torch.cat([batch.frames for batch in batches]).numpy(),
        np.concatenate([batch.statuses == 0 for batch in batches]),
    )


@pytest.mark.parametrize("kind", COLOURS)
def test_colours_are_opencvs(kind: str, tmp_path: Path) -> None:
    index = index_video(clouds(tmp_path / "clouds.mp4", bframes=2, **COLOURS[kind]))
    with FrameReader(index) as reader:
        expected = next(iter(reader)).frames
    got, ok = read(index, batch_size=7)
    assert ok.all()
    apart = np.abs(expected.astype(int) - got)
    assert apart.max() <= 1
    assert apart.mean() < 0.01
    part, _ = read(index, start=5, stop=12, batch_size=3)
    np.testing.assert_array_equal(part, got[5:12])


def test_without_colour_nothing_differs(tmp_path: Path) -> None:
    ramp = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    grey = torch.full((1, 8, 8, 2), 128, dtype=torch.uint8)
    frame = av.VideoFrame(16, 16, "gray").reformat(format="yuv420p")
    np.frombuffer(frame.planes[0], np.uint8).reshape(16, -1)[:, :16] = ramp[0].numpy()
    for plane in frame.planes[1:]:
        np.frombuffer(plane, np.uint8)[:] = 128
    got = nv12_to_rgb(ramp, grey, full_range=False, bt709=False)[0].numpy()
    np.testing.assert_array_equal(got, frame.to_ndarray(format="rgb24"))


def test_a_lost_frame_keeps_its_place(tmp_path: Path) -> None:
    whole = clouds(tmp_path / "whole.mp4", gop=1)
    index = index_video(damage_packets(whole, tmp_path / "damaged.mp4", [3, 9]))
    frames, ok = read(index, batch_size=8)
    assert np.flatnonzero(~ok).tolist() == [3, 9]
    assert not frames[[3, 9]].any()
    assert disagreement(index, DeviceReader(index, CPU, None, stop=4)) == ""


def test_frames_that_differ_are_noticed(tmp_path: Path) -> None:
    index = index_video(clouds(tmp_path / "clouds.mp4"))
    assert disagreement(index, DeviceReader(index, CPU, None, stop=4)) == ""
    dark = smooth_frames(20, 80, 112) // 2
    other = make_video(
        tmp_path / "dark.mp4", n_frames=20, width=112, height=80, picture=lambda i, w, h: dark[i]
    )
    reader = DeviceReader(index_video(other), CPU, None, stop=4)
    assert "differ by up to" in disagreement(index, reader)


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
    monkeypatch.setattr(nvdec, "disagreement", lambda index, _: compared.append(index) or "no")
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
