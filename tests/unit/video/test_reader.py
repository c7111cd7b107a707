"""The reader: every frame equals OpenCV's, from any start; damaged frames keep their place."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.errors import VideoError
from raypose.video.frames import FrameStatus
from raypose.video.index import index_video
from raypose.video.pixels import RgbCollector
from raypose.video.reader import FrameReader, ReaderThreads, iter_frames, read_ahead
from tests.videos import (
    damage_packets,
    edit_list,
    flip_bytes,
    make_video,
    read_number,
    truncate,
)


def read_with_opencv(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = capture.read()
        if not ok:
            return np.array(frames)[..., ::-1]
        frames.append(frame)


def read_all(path: Path, **options: int) -> tuple[np.ndarray, np.ndarray]:
    with FrameReader(path, **options) as reader:
        batches = list(reader)
    firsts = [batch.first for batch in batches]
    sizes = [len(batch) for batch in batches]
    assert firsts == [options.get("start", 0) + sum(sizes[:k]) for k in range(len(sizes))]
    frames = np.concatenate([batch.frames for batch in batches])
    ok = np.concatenate([batch.statuses == 0 for batch in batches])
    return frames, ok


TICKS = np.cumsum(np.random.default_rng(0).integers(10, 80, 30)).tolist()

KINDS = {
    "h264.mp4": {},
    "bt709.mp4": {"color_range": 1, "colorspace": 1},
    "full.mp4": {"color_range": 2, "colorspace": 6},
    "full709.mp4": {"color_range": 2, "colorspace": 1},
    "10bit.mp4": {"pix_fmt": "yuv420p10le"},
    "10bit-422.mp4": {"pix_fmt": "yuv422p10le"},
    "422.mp4": {"pix_fmt": "yuv422p"},
    "444.mp4": {"pix_fmt": "yuv444p"},
    "444-709.mp4": {"pix_fmt": "yuv444p", "colorspace": 1},
    "gray.mp4": {"pix_fmt": "gray"},
    "odd444.mp4": {"pix_fmt": "yuv444p", "width": 97, "height": 65},
    "odd.avi": {"codec": "mpeg4", "width": 97, "height": 65},
    "narrow.mp4": {"width": 66, "height": 46},
    "b-frames.mp4": {"bframes": 3},
    "short-gop.mp4": {"gop": 3, "bframes": 2, "open_gop": True},
    "intra.mp4": {"gop": 1},
    "open-gop.mkv": {"bframes": 2, "open_gop": True},
    "hevc.mp4": {"codec": "libx265", "bframes": 2, "open_gop": True},
    "hevc10.mkv": {"codec": "libx265", "pix_fmt": "yuv420p10le", "gop": 7},
    "stream.ts": {"bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4-b.avi": {"codec": "mpeg4", "bframes": 2},
    "h264-b.avi": {"bframes": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "mjpeg422-odd.avi": {"codec": "mjpeg", "pix_fmt": "yuvj422p", "width": 97, "height": 65},
    "raw.avi": {"codec": "rawvideo", "pix_fmt": "bgr24"},
    "lossless.mkv": {"codec": "ffv1"},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "mpeg2.mpg": {"codec": "mpeg2video", "bframes": 2},
    "elementary.h264": {"bframes": 2},
    "tracks.mp4": {"audio": True, "second_video": True},
    "one.mp4": {"n_frames": 1},
    "late.mp4": {"pts": [i + 50 for i in range(30)], "bframes": 2},
    "vfr.mp4": {"pts": TICKS, "time_base": Fraction(1, 1000), "bframes": 2},
    "turned90.mp4": {"rotation": 90},
    "turned180.mp4": {"rotation": 180},
    "turned270.mp4": {"rotation": 270},
}


@pytest.mark.parametrize("name", KINDS)
def test_frames_equal_opencvs_from_every_start(name: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / name, **KINDS[name])
    expected = read_with_opencv(video)
    frames, ok = read_all(video, batch_size=7)
    assert ok.all()
    np.testing.assert_array_equal(frames, expected)
    index = index_video(video)
    for start in range(index.n_frames):
        stop = min(start + 3, index.n_frames)
        with FrameReader(index, start=start, stop=stop, batch_size=2) as reader:
            part = np.concatenate([batch.frames for batch in reader])
        np.testing.assert_array_equal(part, expected[start:stop], err_msg=f"from {start}")


@pytest.mark.parametrize("skip", [3, 10, 13])
def test_edit_lists(skip: int, tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", bframes=2, open_gop=True)
    cut = edit_list(whole, tmp_path / "cut.mp4", skip_frames=skip)
    frames, ok = read_all(cut)
    assert ok.all()
    np.testing.assert_array_equal(frames, read_with_opencv(cut))
    assert [read_number(frame) for frame in frames] == list(range(skip, 30))
    for start in range(len(frames)):
        part, _ = read_all(cut, start=start, stop=start + 1)
        assert read_number(part[0]) == skip + start


def test_av1_which_opencv_can_not_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SVT_LOG", "1")
    video = make_video(tmp_path / "av1.mp4", codec="libsvtav1")
    frames, ok = read_all(video)
    assert ok.all()
    assert [read_number(frame) for frame in frames] == list(range(30))
    assert read_number(read_all(video, start=17, stop=18)[0][0]) == 17


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    gop=st.integers(1, 14),
    bframes=st.integers(0, 3),
    open_gop=st.booleans(),
    n_frames=st.integers(1, 40),
    batch_size=st.integers(1, 17),
    suffix=st.sampled_from(["mp4", "mkv", "ts"]),
    data=st.data(),
)
def test_any_split_gives_the_same_frames(
    tmp_path: Path,
    gop: int,
    bframes: int,
    open_gop: bool,
    n_frames: int,
    batch_size: int,
    suffix: str,
    data: st.DataObject,
) -> None:
    video = make_video(
        tmp_path / f"any.{suffix}",
        n_frames=n_frames,
        gop=gop,
        bframes=bframes,
        open_gop=open_gop,
    )
    expected = read_with_opencv(video)
    cuts = data.draw(st.lists(st.integers(0, n_frames), max_size=3))
    edges = sorted({0, n_frames, *cuts})
    parts = [
        read_all(video, start=start, stop=stop, batch_size=batch_size)[0]
        for start, stop in itertools.pairwise(edges)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


class TestDamage:
    def test_a_lost_frame_keeps_its_place(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4")
        frames, ok = read_all(damage_packets(whole, tmp_path / "bad.mp4", [13, 14]))
        assert np.flatnonzero(~ok).tolist() == list(range(13, 20))
        assert not frames[13:15].any()
        numbers = [read_number(frame) for frame in frames]
        assert numbers[:13] == list(range(13))
        assert numbers[20:] == list(range(20, 30))

    def test_a_lost_keyframe(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4", bframes=2)
        bad = damage_packets(whole, tmp_path / "bad.mp4", [10])
        frames, ok = read_all(bad)
        assert len(ok) == 30
        assert not ok[10]
        # The decoder still held frame 9 back when the damage came, and lets it fall; 7 and 8 build
        # on it, as far as can be known.
        assert ok[:7].all() and ok[20:].all()
        for start in range(30):
            part, part_ok = read_all(bad, start=start)
            np.testing.assert_array_equal(part_ok, ok[start:], err_msg=f"from {start}")
            np.testing.assert_array_equal(part[part_ok], frames[start:][part_ok])

    @pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
    def test_flipped_bytes_lose_no_row_and_give_the_same_again(
        self, suffix: str, tmp_path: Path
    ) -> None:
        codec = "mpeg4" if suffix == "avi" else "libx264"
        whole = make_video(tmp_path / f"whole.{suffix}", n_frames=60, codec=codec)
        bad = flip_bytes(whole, tmp_path / f"bad.{suffix}", start=0.4, stop=0.5)
        frames, ok = read_all(bad)
        again, ok_again = read_all(bad, batch_size=11)
        assert len(ok) == index_video(bad).n_frames
        np.testing.assert_array_equal(ok, ok_again)
        np.testing.assert_array_equal(frames, again)
        assert [read_number(frame) for frame in frames[:15]] == list(range(15))

    def test_truncated_files(self, tmp_path: Path) -> None:
        for suffix, codec in (("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "libx264")):
            whole = make_video(tmp_path / f"whole.{suffix}", codec=codec, n_frames=40)
            cut = truncate(whole, tmp_path / f"cut.{suffix}", 0.6)
            frames, ok = read_all(cut)
            assert 10 < ok.sum() < 40
            numbers = [read_number(frame) for frame in frames[:10]]
            assert numbers == list(range(10))

    def test_nothing_decodable_is_an_error(self, tmp_path: Path) -> None:
        whole = make_video(tmp_path / "whole.mp4")
        bad = damage_packets(whole, tmp_path / "bad.mp4", range(30))
        with pytest.raises(VideoError, match="none of its frames"):
            read_all(bad)


def test_a_range_outside_the_video_is_refused(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=5)
    with pytest.raises(ValueError, match="of 5 frames"):
        FrameReader(video, start=2, stop=6)


def test_leaving_early_stops_the_thread(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=40)
    before = threading.active_count()
    with FrameReader(video, batch_size=2) as reader:
        next(iter(reader))
    assert threading.active_count() == before


def test_read_ahead_hands_on_errors_in_their_place() -> None:
    def numbers() -> Generator[int]:
        yield from (1, 2)
        raise OSError("torn")

    with read_ahead(numbers(), 1) as items:
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(OSError, match="torn"):
            next(items)


def test_only_a_group_of_pictures_is_decoded_for_a_late_start(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4", n_frames=200, gop=20)
    index = index_video(video)
    (number, frame, _), *_ = iter_frames(index, 165, 166)
    assert number == 165
    assert frame is not None and frame.pts == index.pts[165]


def test_the_shared_video_equals_opencv(shared_data: Path) -> None:
    video = shared_data / "mirror-mouse-example" / "videos" / "test_vid.mp4"
    frames, ok = read_all(video, start=180, stop=200)
    assert ok.all()
    capture = cv2.VideoCapture(str(video))
    expected = [capture.read()[1] for _ in range(200)][180:]
    np.testing.assert_array_equal(frames[..., ::-1], expected)


def test_several_threads_convert_alike(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=40, rotation=90, bframes=2))
    threads = ReaderThreads(convert=3)
    with FrameReader(index, batch_size=40, threads=threads) as reader:
        (batch,) = reader
    np.testing.assert_array_equal(batch.frames, read_with_opencv(tmp_path / "v.mp4"))


def test_gaps_are_filled_from_their_neighbours(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "v.mp4", n_frames=8))
    frames = [frame for _, frame, _ in iter_frames(index)]
    shown = read_with_opencv(tmp_path / "v.mp4")
    ok, corrupt, missing = FrameStatus.OK, FrameStatus.CORRUPT, FrameStatus.MISSING
    for n_threads in (1, 3):
        collector = RgbCollector(index, n_threads, fills_gaps=True)
        with contextlib.closing(collector):
            collector.begin(0, 5)
            for k, status in enumerate((corrupt, ok, missing, corrupt, ok)):
                collector.add(k, None if status is missing else frames[k], status)
            np.testing.assert_array_equal(collector.finish(), shown[[1, 1, 1, 1, 4]])
            collector.begin(5, 2)
            collector.add(0, None, missing)
            collector.add(1, frames[6], corrupt)
            np.testing.assert_array_equal(collector.finish(), shown[[4, 4]])
    with contextlib.closing(RgbCollector(index)) as plain:
        plain.begin(0, 2)
        plain.add(0, None, missing)
        plain.add(1, frames[1], corrupt)
        pixels = plain.finish()
        assert not pixels[0].any()
        np.testing.assert_array_equal(pixels[1], shown[1])
