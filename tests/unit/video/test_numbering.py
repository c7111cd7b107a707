"""Numbering: OpenCV's order and count whatever the times say, and quick where they are right."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.video.index import VideoIndex, index_video
from raypose.video.numbering import clock
from raypose.video.packets import NO_TIME
from raypose.video.reader import FrameReader
from tests.conftest import SHARED_CASES
from tests.videos import (
    edit_list,
    make_video,
    packet_order,
    read_with_opencv,
    repeat_packets,
    retime,
)

N = 30
EVEN = 400 + 40 * np.arange(N)
UNEVEN = 400 + np.cumsum(np.random.default_rng(0).integers(10, 80, N))


def check_against_opencv(video: Path, *, seekable: bool) -> VideoIndex:
    """Count, order and pixels of a video are OpenCV's, from the beginning and from inside."""
    expected = read_with_opencv(video)
    index = index_video(video)
    assert index.seekable == seekable, index.notes
    assert index.n_frames == len(expected)
    assert (np.diff(index.times_s) > 0).all() and index.times_s[0] == 0
    for start in (0, index.n_frames // 2 + 1):
        with FrameReader(index, start=start) as reader:
            frames = np.concatenate([batch.frames for batch in reader])
        np.testing.assert_array_equal(frames, expected[start:])
    if not seekable:
        assert any("come out of the decoder" in problem for problem in index.notes)
    return index


def b_times(video: Path, ticks: np.ndarray) -> tuple[list[int], list[int]]:
    """Times for the packets of a video with B-frames, whose frames are shown at `ticks`."""
    pts = ticks[packet_order(video)]
    dts = np.minimum.accumulate(pts[::-1])[::-1] - N + np.arange(N)
    return pts.tolist(), dts.tolist()


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("libx264", suffix) for suffix in ("mkv", "mp4", "mov", "ts", "flv")]
    + [("mpeg4", "mkv"), ("mpeg4", "mp4"), ("mjpeg", "mov")],
)
def test_one_time_that_steps_back(codec: str, suffix: str, tmp_path: Path) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    source = make_video(tmp_path / "source.mp4", codec=codec, pix_fmt=pix_fmt)
    pts = EVEN.copy()
    pts[21] = EVEN[13] + 5
    video = retime(source, tmp_path / f"video.{suffix}", pts.tolist(), (EVEN - 400).tolist())
    index = check_against_opencv(video, seekable=False)
    np.testing.assert_allclose(index.times_s, np.arange(N) / 25, atol=1e-9)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [
        ("libx264", "mkv"),
        ("libx264", "mp4"),
        ("libx264", "ts"),
        ("libx265", "mp4"),
        ("libx265", "ts"),
        ("mpeg2video", "mkv"),
        ("mpeg4", "mp4"),
    ],
)
def test_a_step_back_that_is_no_further_than_b_frames_reach(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    source = make_video(tmp_path / "source.mp4", codec=codec, bframes=2, gop=12)
    pts, dts = b_times(source, UNEVEN)
    right = retime(source, tmp_path / f"right.{suffix}", pts, dts)
    index = check_against_opencv(right, seekable=True)
    np.testing.assert_allclose(index.times_s, (UNEVEN - UNEVEN[0]) / 1000, atol=1e-4)
    swapped = UNEVEN.copy()
    swapped[[13, 14]] = swapped[[14, 13]]
    pts, dts = b_times(source, swapped)
    check_against_opencv(retime(source, tmp_path / f"wrong.{suffix}", pts, dts), seekable=False)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_times_of_decoding_where_those_of_showing_belong(suffix: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", bframes=2)
    video = retime(source, tmp_path / f"video.{suffix}", EVEN.tolist())
    index = check_against_opencv(video, seekable=False)
    np.testing.assert_allclose(index.times_s, np.arange(N) / 25, atol=1e-3)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "flv"])
def test_times_that_repeat(suffix: str, tmp_path: Path) -> None:
    pts = UNEVEN.copy()
    pts[[5, 20]] = pts[[4, 19]]
    dts = pts - N + np.arange(N)
    source = make_video(tmp_path / "source.mp4")
    video = retime(source, tmp_path / f"video.{suffix}", pts.tolist(), dts.tolist())
    index = check_against_opencv(video, seekable=False)
    others = np.setdiff1d(np.arange(N), [5, 20])
    np.testing.assert_allclose(
        index.times_s[others], (pts[others] - pts[0]) / 1000, atol=1.5e-3, err_msg=suffix
    )


@pytest.mark.parametrize("suffix", ["ts", "mpg", "flv"])
def test_files_that_were_put_together(suffix: str, tmp_path: Path) -> None:
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    part = make_video(tmp_path / f"part.{suffix}", bframes=2, codec=codec)
    data = part.read_bytes()
    header = 13 if suffix == "flv" else 0
    (tmp_path / f"whole.{suffix}").write_bytes(data + data[header:])
    index = check_against_opencv(tmp_path / f"whole.{suffix}", seekable=False)
    assert index.n_frames == 2 * N
    np.testing.assert_allclose(index.times_s, np.arange(2 * N) / 25, atol=1e-9)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_b_frames_that_begin_late_in_an_avi(codec: str, tmp_path: Path) -> None:
    video = make_video(
        tmp_path / "video.avi", n_frames=104, bframes=2, codec=codec, n_without_bframes=64,
        gop=200,
    )  # fmt: skip
    # Of the two, only MPEG-4 comes with times that fit its frames.
    index = check_against_opencv(video, seekable=codec == "mpeg4")
    np.testing.assert_allclose(index.times_s, np.arange(104) / 25, atol=1e-9)


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_mpeg4_packets_that_stand_for_no_frame(suffix: str, tmp_path: Path) -> None:
    source = make_video(tmp_path / f"source.{suffix}", codec="mpeg4", gop=100)
    video = tmp_path / f"video.{suffix}"
    with av.open(str(source)) as reading, av.open(str(video), "w") as writing:
        stream = reading.streams.video[0]
        copy = writing.add_stream_from_template(stream)
        for n, packet in enumerate(p for p in reading.demux(stream) if p.size):
            data = bytearray(packet)
            if n in (7, 8, 20):
                # The start code, a P-frame, 5 bits of time between markers, "not coded".
                data = data[:6]
                data[5] &= ~0x20
            short = av.Packet(bytes(data))
            short.pts, short.dts, short.time_base = packet.pts, packet.dts, packet.time_base
            short.is_keyframe, short.stream = packet.is_keyframe, copy
            short.duration = packet.duration
            writing.mux(short)
    assert check_against_opencv(video, seekable=False).n_frames == 27


LEGITIMATE: dict[str, dict[str, Any]] = {
    "b-frames.mp4": {"bframes": 2},
    "pyramid.mkv": {"bframes": 5, "options": {"b-pyramid": "normal"}},
    "uneven.mp4": {"bframes": 3, "pts": UNEVEN.tolist(), "time_base": Fraction(1, 1000)},
    "uneven.mkv": {
        "bframes": 3, "pts": UNEVEN.tolist(), "time_base": Fraction(1, 1000), "open_gop": True,
        "gop": 7,
    },
    "uneven.ts": {"bframes": 3, "pts": UNEVEN.tolist(), "time_base": Fraction(1, 1000)},
    "no-hint.mp4": {
        "bframes": 2, "pts": UNEVEN.tolist(), "time_base": Fraction(1, 1000),
        "options": {"x264-params": "bitstream-restriction=0"},
    },
    "hevc.mkv": {
        "codec": "libx265", "bframes": 3, "open_gop": True, "gop": 8, "pts": UNEVEN.tolist(),
        "time_base": Fraction(1, 1000),
    },
    "mpeg4.mp4": {"codec": "mpeg4", "bframes": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "bframes": 2},
    "mpeg4.avi": {"codec": "mpeg4", "bframes": 2},
    "gaps.mkv": {"bframes": 2, "pts": [i + (5 if i > 9 else 0) for i in range(N)]},
    "fast.mp4": {"fps": 10_000, "bframes": 2},
    "slow.mp4": {"fps": Fraction(1, 3), "bframes": 2},
    "vp9.webm": {"codec": "libvpx-vp9"},
    "jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "no-b-frames.avi": {},
}  # fmt: skip


@pytest.mark.parametrize("name", LEGITIMATE)
def test_right_times_are_relied_upon(name: str, tmp_path: Path) -> None:
    check_against_opencv(make_video(tmp_path / name, **LEGITIMATE[name]), seekable=True)


def test_a_transport_streams_clock_that_wraps(tmp_path: Path) -> None:
    source = make_video(tmp_path / "source.mp4", bframes=2)
    pts, dts = b_times(source, 2**33 - 40_000 + 3600 * np.arange(N))
    video = retime(source, tmp_path / "wrap.ts", pts, dts, time_base=Fraction(1, 90_000))
    index = check_against_opencv(video, seekable=True)
    np.testing.assert_allclose(index.times_s, np.arange(N) / 25, atol=1e-9)


def test_an_edit_list_that_cuts_b_frames(tmp_path: Path) -> None:
    whole = make_video(
        tmp_path / "whole.mp4", bframes=2, pts=(UNEVEN - UNEVEN[0]).tolist(),
        time_base=Fraction(1, 1000), options={"movflags": "faststart"},
    )  # fmt: skip
    check_against_opencv(edit_list(whole, tmp_path / "cut.mp4", skip_frames=4), seekable=True)


@pytest.mark.parametrize("rate", [1000, 2000, 3600, 10_000])
def test_rates_above_what_matroska_counts(rate: int, tmp_path: Path) -> None:
    segment = make_video(tmp_path / "segment.mp4")
    half = repeat_packets(tmp_path / "long.mp4", segment, 200)
    ticks = (np.arange(200) * 1000 / rate).astype(int).tolist()
    video = retime(half, tmp_path / "fast.mkv", ticks)
    index = check_against_opencv(video, seekable=rate == 1000)
    np.testing.assert_allclose(index.times_s, np.arange(200) / rate, atol=1.1e-3)
    assert index.fps == pytest.approx(rate, rel=0.06)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A video by its number of B-frames between others."""
    folder = tmp_path_factory.mktemp("sources")
    return {n: make_video(folder / f"{n}.mp4", bframes=n, gop=12) for n in (0, 2, 3)}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    n_bframes=st.sampled_from([0, 2, 3]),
    suffix=st.sampled_from(["mkv", "mp4", "mov", "ts", "flv"]),
    even=st.booleans(),
    moved=st.lists(st.tuples(st.integers(0, N - 1), st.integers(-300, 300)), max_size=5),
)
def test_any_times_give_opencvs_frames(
    sources: dict[int, Path],
    tmp_path: Path,
    n_bframes: int,
    suffix: str,
    even: bool,
    moved: list[tuple[int, int]],
) -> None:
    source = sources[n_bframes]
    pts = (EVEN if even else UNEVEN)[packet_order(source)]
    for packet, by in moved:
        pts[packet] = max(0, pts[packet] + by)
    dts = np.minimum.accumulate(pts[::-1])[::-1] - N + np.arange(N)
    video = retime(source, tmp_path / f"video.{suffix}", pts.tolist(), dts.tolist())
    expected = read_with_opencv(video)
    index = index_video(video)
    with FrameReader(index) as reader:
        frames = np.concatenate([batch.frames for batch in reader])
    np.testing.assert_array_equal(frames, expected)
    assert (np.diff(index.times_s) > 0).all()
    assert moved or index.seekable


@pytest.mark.parametrize("name", ["outlier", "overlap"])
def test_recordings_of_a_card_reader(name: str) -> None:
    path = SHARED_CASES / "timestamps" / f"{name}.mkv"
    if not path.exists():
        pytest.skip("the shared cases are not on this machine")
    assert check_against_opencv(path, seekable=False).n_frames == 24


class TestClock:
    def test_ascending_times_stay(self) -> None:
        times, base, _ = clock(UNEVEN, Fraction(1, 1000), Fraction(25))
        assert times is UNEVEN and base == Fraction(1, 1000)

    def test_without_any_time_the_header_counts(self) -> None:
        times, base, why = clock(np.full(4, NO_TIME), Fraction(1, 1000), Fraction(30000, 1001))
        assert [t * base for t in times.tolist()] == [Fraction(1001, 30000) * i for i in range(4)]
        assert "29.97" in why

    def test_without_a_header_too_it_is_25(self) -> None:
        times, base, _ = clock(np.full(3, NO_TIME), Fraction(1, 1000), None)
        assert [t * base for t in times.tolist()] == [0, Fraction(1, 25), Fraction(2, 25)]

    def test_a_headers_default_does_not_count(self) -> None:
        known = np.array([0, 20, 40, 60, 80, 35, 55, 75, 95])
        times, base, _ = clock(known, Fraction(1, 10_000), Fraction(25))
        assert float(times[-1] * base) == pytest.approx(0.016)

    def test_repeated_times_are_spread(self) -> None:
        known = np.array([0, 10, 10, 10, 25, 31, 31])
        times, base, _ = clock(known, Fraction(1, 1000), Fraction(25))
        seconds = times * float(base)
        assert (np.diff(seconds) > 0).all()
        np.testing.assert_allclose(seconds[[0, 1, 4, 5]], [0, 0.010, 0.025, 0.031])
        np.testing.assert_allclose(seconds[2:4], [0.015, 0.020])
        assert 0.031 < seconds[6] < 0.032

    def test_many_repeats_stay_in_order(self) -> None:
        known = np.sort(np.random.default_rng(0).integers(0, 40, 20_000) ** 2)
        times, base, _ = clock(known, Fraction(1, 1000), None)
        assert (np.diff(times) > 0).all()
        ticks = times * float(base * 1000) + known[0]
        assert np.abs(ticks - known).max() < np.diff(np.unique(known)).max() + 1

    def test_times_that_belong_to_other_frames_are_sorted(self) -> None:
        times, base, _ = clock(np.array([2, 0, 1, 5, 3, 4]), Fraction(1, 25), Fraction(25))
        assert (times.tolist(), base) == (list(range(6)), Fraction(1, 25))
