"""Videos with any damage (bytes, truncation, times), compared with a plain decode.

The reference decodes the whole file from its beginning, one packet at a time, numbers frames as
they come out of the decoder (as OpenCV does), and holds a frame for sound where the decoder
reported nothing of it, nor of anything that was decoded before it since the last keyframe (or the
one before, where the frame is shown before that keyframe).

- Every row is there, and what is sound in the reference is `ok`, with the same picture.
- What is `ok` and not sound in the reference (which may lose intact frames beside damage) has the
  picture of the intact video.
- Corrupt and missing frames have no picture or one that the decoder complained of.
- Ranges have the statuses, and where they are ok the pictures, of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raypose.errors import VideoError
from raypose.video.decoding import iter_frames
from raypose.video.frames import FrameStatus
from raypose.video.index import VideoIndex, index_video
from tests.videos import cut_packets, make_video, packet_order, retime

N_FRAMES, GOP = 40, 10

KINDS: dict[str, dict[str, Any]] = {
    "plain.mp4": {},
    "b-frames.mp4": {"bframes": 2},
    "open-groups.mp4": {"bframes": 3, "open_gop": True},
    "b-frames.ts": {"bframes": 2},
    "plain.mkv": {},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4-b.mp4": {"codec": "mpeg4", "bframes": 2},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


@dataclass
class Reference:
    """What a plain decode of a file gives: pictures, and whether each is sound."""

    times: list[int | None]
    pictures: list[np.ndarray]
    sound: list[bool]


def decode_plainly(path: Path) -> Reference:
    times: list[int | None] = []
    pictures, corrupt, keys = [], [], []
    came: dict[int, int] = {}
    refused: set[int] = set()
    n_packets = 0
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        stream.codec_context.copy_opaque = True
        if stream.codec_context.name == "mjpeg":
            stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux(stream):
            if packet.size:
                packet.opaque = n_packets
                n_packets += 1
            try:
                frames = packet.decode()
            except av.FFmpegError:
                frames = []
                refused.add(n_packets - 1)
            if packet.is_corrupt:
                refused.add(n_packets - 1)
            for frame in frames:
                came[frame.opaque] = len(times)
                times.append(frame.pts)
                pictures.append(frame.to_ndarray())
                corrupt.append(frame.is_corrupt)
                keys.append(frame.key_frame)
    sound = [False] * len(times)
    damaged = damaged_before = False
    last_key = -1
    for n in range(n_packets):
        k = came.get(n)
        bad = k is None or corrupt[k] or n in refused
        if k is not None and keys[k] and not bad:
            damaged_before, damaged, last_key = damaged, False, k
        elif k is not None and k < last_key:  # shown before the keyframe it was decoded after
            damaged_before |= bad
        else:
            damaged |= bad
            damaged_before |= bad
        if k is not None:
            sound[k] = not (bad or (damaged_before if k < last_key else damaged))
    return Reference(times, pictures, sound)


def read(
    index: VideoIndex, start: int = 0, stop: int | None = None, threads: int = 3
) -> tuple[list[FrameStatus], list[np.ndarray | None]]:
    frames = list(iter_frames(index, start, stop, threads=threads))
    assert [n for n, _, _ in frames] == list(
        range(start, index.n_frames if stop is None else stop)
    )
    return (
        [status for _, _, status in frames],
        [None if frame is None else frame.to_ndarray() for _, frame, _ in frames],
    )


def same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


def check(bad: Path, whole: Path, ranges: list[tuple[float, float]], threads: int) -> None:
    try:
        index = index_video(bad)
    except VideoError:
        return  # refused with a reason
    reference = decode_plainly(bad)
    statuses, pictures = read(index, threads=threads)
    assert len(statuses) == index.n_frames
    numbers: list[int | None] = list(range(len(reference.times)))
    if index.seekable:
        by_time: dict[int | None, int] = {int(time): n for n, time in enumerate(index.pts)}
        numbers = [by_time.get(time) for time in reference.times]
    else:
        assert len(numbers) == index.n_frames
    intact = {picture.tobytes() for picture in decode_plainly(whole).pictures}
    rows = zip(numbers, reference.pictures, reference.sound, strict=True)
    sound = {number: picture for number, picture, is_sound in rows if is_sound}
    for n, (status, picture) in enumerate(zip(statuses, pictures, strict=True)):
        assert (picture is None) == (status is FrameStatus.MISSING)
        if n in sound:
            assert status is FrameStatus.OK, f"frame {n} is sound"
            assert same(picture, sound[n]), f"frame {n} is another"
        elif status is FrameStatus.OK:
            assert picture is not None and picture.tobytes() in intact, f"frame {n} is not ok"
    for share, length in ranges:
        start = int(share * index.n_frames)
        stop = min(index.n_frames, start + 1 + int(length * 12))
        part, part_pictures = read(index, start, stop, threads)
        assert part == statuses[start:stop], f"from {start} to {stop}"
        for k, status in enumerate(part):
            if status is FrameStatus.OK:
                assert same(part_pictures[k], pictures[start + k]), f"frame {start + k}"


SHARES = st.floats(0, 1, exclude_max=True)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, options in KINDS.items():
        make_video(folder / name, n_frames=N_FRAMES, gop=GOP, width=128, height=96, **options)
    return folder


@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    # A B-frame of MPEG-4 whose broken header makes others build on it escapes FFmpeg.
    kind=st.sampled_from(sorted(set(KINDS) - {"mpeg4-b.mp4"})),
    spots=st.lists(st.tuples(SHARES, SHARES, st.sampled_from([1, 8, 200])), max_size=3),
    keep=st.one_of(st.just(1.0), st.floats(0.3, 1.0)),
    seed=st.integers(0, 1000),
    ranges=st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=3),
    threads=st.sampled_from([1, 2, 5]),
)
def test_bytes_and_truncation(
    videos: Path,
    tmp_path: Path,
    kind: str,
    spots: list[tuple[float, float, int]],
    keep: float,
    seed: int,
    ranges: list[tuple[float, float]],
    threads: int,
) -> None:
    whole = videos / kind
    with av.open(str(whole)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(whole.read_bytes())
    noise = np.random.default_rng(seed)
    for which, where, n_bytes in spots:
        place, size = places[int(which * len(places))]
        assert place is not None
        first = place + int(where * size)
        last = min(first + n_bytes, place + size)
        data[first:last] = noise.bytes(last - first)
    bad = tmp_path / f"bad-{kind}"
    bad.write_bytes(bytes(data[: int(len(data) * keep)]))
    check(bad, whole, ranges, threads)


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(["plain.mp4", "b-frames.mp4", "mpeg4-b.mp4"]),
    # In MP4 an edit list may cut a damaged frame off, of which the decoder then says nothing.
    suffix=st.sampled_from(["mkv", "ts"]),
    moved=st.lists(st.tuples(st.integers(0, N_FRAMES - 1), st.integers(-300, 300)), max_size=4),
    cut=st.lists(st.integers(0, N_FRAMES - 1), max_size=2),
    ranges=st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=3),
    threads=st.sampled_from([1, 2, 5]),
)
def test_times_and_bytes(
    videos: Path,
    tmp_path: Path,
    kind: str,
    suffix: str,
    moved: list[tuple[int, int]],
    cut: list[int],
    ranges: list[tuple[float, float]],
    threads: int,
) -> None:
    source = videos / kind
    pts = 400 + 40 * np.array(packet_order(source))
    for packet, by in moved:
        pts[packet] = max(0, pts[packet] + by)
    dts = np.minimum.accumulate(pts[::-1])[::-1] - N_FRAMES + np.arange(N_FRAMES)
    damaged = cut_packets(source, tmp_path / "damaged.mp4", cut)
    bad = retime(damaged, tmp_path / f"bad.{suffix}", pts.tolist(), dts.tolist())
    check(bad, source, ranges, threads)
