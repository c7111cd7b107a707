"""The frame index: counts, keyframes, times and colours of files of every kind; bad files."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from raypose.errors import VideoError
from raypose.video.index import fingerprint_video, index_video
from tests.videos import edit_list, make_video, truncate


def count_with_opencv(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    n = 0
    while capture.read()[0]:
        n += 1
    return n


KINDS = {
    "h264.mp4": {},
    "b-frames.mp4": {"bframes": 2, "gop": 7},
    "open-gop.mkv": {"bframes": 2, "open_gop": True},
    "hevc.mp4": {"codec": "libx265", "bframes": 2, "open_gop": True},
    "stream.ts": {"bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4-b.avi": {"codec": "mpeg4", "bframes": 2},
    "h264-b.avi": {"bframes": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "elementary.h264": {"bframes": 2},
    "tracks.mp4": {"audio": True, "second_video": True},
    "one.mp4": {"n_frames": 1},
    "late.mp4": {"pts": [i + 50 for i in range(30)]},
}


@pytest.mark.parametrize("name", KINDS)
def test_it_counts_what_opencv_decodes(name: str, tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / name, **KINDS[name]))
    assert index.n_frames == count_with_opencv(tmp_path / name)
    assert len(index.pts) == index.n_frames
    assert (np.diff(index.pts) > 0).all()
    assert (index.width, index.height) == (96, 64)
    assert index.fps == pytest.approx(25)
    assert index.duration_s == pytest.approx(index.n_frames / 25, abs=0.002)
    assert not index.is_vfr


def test_keyframes_are_frame_numbers_in_order_of_presentation(tmp_path: Path) -> None:
    closed = index_video(make_video(tmp_path / "closed.mp4", gop=10))
    opened = index_video(make_video(tmp_path / "open.mkv", gop=10, bframes=2, open_gop=True))
    assert closed.keyframes.tolist() == [0, 10, 20]
    assert opened.keyframes.tolist() == [0, 10, 20]


def test_frames_cut_off_by_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", bframes=2)
    index = index_video(edit_list(whole, tmp_path / "cut.mp4", skip_frames=13))
    assert index.n_frames == 17 == count_with_opencv(tmp_path / "cut.mp4")
    assert index.keyframes.tolist() == [0, 7]
    assert any("edit list" in problem for problem in index.notes)


def test_variable_frame_rate_is_seen_and_timed(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(0).integers(10, 90, 40))
    video = make_video(
        tmp_path / "vfr.mkv", n_frames=40, pts=ticks.tolist(), time_base=Fraction(1, 1000)
    )
    index = index_video(video)
    assert index.is_vfr
    np.testing.assert_allclose(index.times_s, (ticks - ticks[0]) / 1000, atol=1e-9)
    assert index.fps == pytest.approx(39 / index.times_s[-1])
    assert any("variable" in problem for problem in index.notes)


def test_gaps_are_named(tmp_path: Path) -> None:
    ticks = [i + (5 if i > 9 else 0) + (2 if i > 19 else 0) for i in range(30)]
    index = index_video(make_video(tmp_path / "gaps.mp4", pts=ticks))
    assert index.is_vfr
    assert any("2 gaps" in problem and "0.2 s" in problem for problem in index.notes)


def test_milliseconds_of_matroska_are_no_variable_rate(tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "ntsc.mkv", fps=Fraction(30000, 1001)))
    assert not index.is_vfr
    assert index.fps == pytest.approx(30000 / 1001)


@pytest.mark.parametrize(("counterclockwise", "clockwise"), [(90, 270), (180, 180), (270, 90)])
def test_rotation(counterclockwise: int, clockwise: int, tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / "turned.mp4", rotation=counterclockwise))
    assert index.rotation == clockwise
    assert (index.width, index.height) == ((96, 64) if clockwise == 180 else (64, 96))
    assert index.coded_size == (96, 64)


def test_pixel_format(tmp_path: Path) -> None:
    deep = index_video(make_video(tmp_path / "deep.mp4", pix_fmt="yuv420p10le"))
    assert deep.pix_fmt == "yuv420p10le"


@pytest.mark.parametrize(
    "name", ["with space.mp4", "10:00:00.mp4", "-dash.mp4", "qu'ote\".mp4", "ünï%05d.mp4"]
)
def test_any_file_name(name: str, tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", n_frames=3)
    assert index_video(plain.rename(tmp_path / name)).n_frames == 3


def test_a_relative_name_that_looks_like_an_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "plain.mp4", n_frames=3).rename(tmp_path / "-i.mp4")
    monkeypatch.chdir(tmp_path)
    assert index_video("-i.mp4").n_frames == 3


def test_a_truncated_file_has_the_frames_that_are_there(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mkv", n_frames=60)
    index = index_video(truncate(whole, tmp_path / "cut.mkv", 0.5))
    assert index.n_frames == count_with_opencv(tmp_path / "cut.mkv")
    assert 20 < index.n_frames < 40


def test_a_truncated_mp4_with_its_index_in_front_says_so(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", n_frames=60)
    with av.open(str(whole)) as source, av.open(
        str(tmp_path / "front.mp4"), "w", options={"movflags": "+faststart"}
    ) as copy:  # fmt: skip
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    index = index_video(truncate(tmp_path / "front.mp4", tmp_path / "cut.mp4", 0.6))
    assert 20 < index.n_frames < 50
    assert any("promises 60 frames" in problem for problem in index.notes)


def test_bad_files_have_an_error_each(tmp_path: Path) -> None:
    def says(path: Path, what: str) -> None:
        with pytest.raises(VideoError, match=what) as caught:
            index_video(path)
        assert caught.value.path == str(path)

    says(tmp_path / "missing.mp4", "no such file")
    says(tmp_path, "directory")
    (tmp_path / "empty.mp4").touch()
    says(tmp_path / "empty.mp4", "empty")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    says(tmp_path / "text.mp4", "not a video")
    whole = make_video(tmp_path / "whole.mp4")
    says(truncate(whole, tmp_path / "cut.mp4", 0.5), "moov")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    says(tmp_path / "sound.mp4", "no video track")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    video = make_video(tmp_path / "secret.mp4", n_frames=2)
    video.chmod(0)
    with pytest.raises(VideoError, match="may not be read"):
        index_video(video)


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    first = make_video(tmp_path / "a.mp4", n_frames=5)
    copy = tmp_path / "b.mp4"
    copy.write_bytes(first.read_bytes())
    other = make_video(tmp_path / "c.mp4", n_frames=6)
    assert fingerprint_video(first) == fingerprint_video(copy) != fingerprint_video(other)


def test_fingerprint_of_a_large_file_sees_its_ends(tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    with open(path, "wb") as file:
        file.truncate(5 << 30)  # sparse: five gigabytes that take no room
    before = fingerprint_video(path)
    with open(path, "r+b") as file:
        file.seek(-10, os.SEEK_END)
        file.write(b"x")
    assert fingerprint_video(path) != before
