"""The writer: what comes back is what went in, with the same times, size, turn and colours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from raypose.errors import OutputError
from raypose.video.index import VideoIndex, index_video
from raypose.video.pixels import FrameConverter, output_format
from raypose.video.reader import FrameReader, iter_frames
from raypose.video.writer import HIGH_QUALITY, NVENC_LABELED, VideoWriter
from tests.videos import make_video


def transcode(source: Path, out: Path) -> VideoIndex:
    index = index_video(source)
    convert = FrameConverter(index)
    with VideoWriter(out, index, HIGH_QUALITY) as writer:
        for n, frame, _ in iter_frames(index):
            writer.write(convert(frame), int(index.pts[n] - index.pts[0]))
    return index_video(out)


def read(path: Path) -> np.ndarray:
    with FrameReader(path) as reader:
        return np.concatenate([batch.frames for batch in reader])


KINDS = {
    "plain.mp4": {},
    "b-frames.mkv": {"bframes": 2},
    "bt709.mp4": {"color_range": 1, "colorspace": 1},
    "full.mp4": {"color_range": 2, "colorspace": 6},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "422.mp4": {"pix_fmt": "yuv422p"},
    "444-full.mp4": {"pix_fmt": "yuv444p", "color_range": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "rgb.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
    "odd.mp4": {"pix_fmt": "yuv444p", "width": 97, "height": 65},
    "odd420.avi": {"codec": "mpeg4", "width": 97, "height": 65},
    "turned.mp4": {"rotation": 90},
}


def colours(path: Path) -> tuple[bool, bool]:
    """Whether the first frame has the full range, and the matrix of BT.709."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.color_range == 2, frame.colorspace == 1


@pytest.mark.parametrize("name", KINDS)
def test_pictures_keep_size_turn_and_colours(name: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / name, n_frames=12, **KINDS[name])
    copy = transcode(source, tmp_path / "copy.mp4")
    before = index_video(source)
    assert (copy.width, copy.height) == (before.width, before.height)
    assert copy.rotation == before.rotation
    assert copy.n_frames == 12
    assert copy.fps == pytest.approx(before.fps)
    assert colours(tmp_path / "copy.mp4") == colours(source)
    there, back = read(source).astype(int), read(tmp_path / "copy.mp4").astype(int)
    # Chroma of the test picture is finer than 4:2:0 holds where the source is not 4:2:0.
    limit = 2.5 if before.pix_fmt.endswith("420p") else 6
    assert np.abs(there - back).mean() < limit
    assert np.abs((there - back).mean(axis=(0, 1, 2))).max() < 3


def test_opencv_reads_it_upright(tmp_path: Path) -> None:
    source = make_video(tmp_path / "turned.mp4", n_frames=3, rotation=270)
    transcode(source, tmp_path / "copy.mp4")
    first = cv2.VideoCapture(str(source)).read()[1]
    second = cv2.VideoCapture(str(tmp_path / "copy.mp4")).read()[1]
    assert first.shape == second.shape == (96, 64, 3)
    assert np.abs(first.astype(int) - second).mean() < 2.5


@pytest.mark.parametrize("base", [Fraction(1, 1000), Fraction(1, 90000), Fraction(1001, 60000)])
def test_times_of_a_variable_rate_are_kept(base: Fraction, tmp_path: Path) -> None:
    steps = np.random.default_rng(1).integers(1, 5, 20) * round(Fraction(1, 60) / base)
    ticks = np.cumsum(steps)
    source = make_video(
        tmp_path / "vfr.mp4", n_frames=20, pts=ticks.tolist(), time_base=base, bframes=1
    )
    before = index_video(source)
    copy = transcode(source, tmp_path / "copy.mp4")
    np.testing.assert_allclose(copy.times_s, before.times_s, atol=1e-6)
    assert copy.is_vfr


def test_players_find_the_index_first(tmp_path: Path) -> None:
    transcode(make_video(tmp_path / "a.mp4"), tmp_path / "out.part")
    data = (tmp_path / "out.part").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_only_odd_sizes_leave_420(tmp_path: Path) -> None:
    even = index_video(make_video(tmp_path / "even.mp4", n_frames=2))
    odd = index_video(make_video(tmp_path / "odd.mp4", n_frames=2, height=65, pix_fmt="yuv444p"))
    assert (output_format(even), output_format(odd)) == ("yuv420p", "yuv444p")


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "a.mp4", n_frames=2))
    with (
        pytest.raises(OutputError, match="no such file or directory"),
        VideoWriter(tmp_path / "missing" / "out.mp4", index) as writer,
    ):
        for n, frame, _ in iter_frames(index):
            writer.write(frame, n)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "a.mp4", n_frames=30))
    (tmp_path / "out.mp4").symlink_to("/dev/full")
    with (
        pytest.raises(OutputError, match="disk is full"),
        VideoWriter(tmp_path / "out.mp4", index) as writer,
    ):
        for n, frame, _ in iter_frames(index):
            writer.write(frame, n)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there may be an encoder")
def test_without_a_gpus_encoder_the_error_says_so(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "video.mp4", width=256, height=256))
    (_, frame, _), *_ = iter_frames(index)
    with (
        pytest.raises(OutputError, match="the GPU's encoder can't be used"),
        VideoWriter(tmp_path / "out.mp4", index, NVENC_LABELED) as writer,
    ):
        writer.write(FrameConverter(index)(frame), 0)
