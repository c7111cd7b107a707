"""Statuses of damaged videos: what is not ok differs from the intact video, what is ok does not.

Damage is made so that the decoder notices it: whole packets are overwritten, or cut in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypose.video import decoding
from raypose.video.decoding import iter_frames
from raypose.video.index import VideoIndex, index_video
from tests.videos import cut_packets, damage_packets, make_video, truncate, without_packets

OK, SUSPECT, CORRUPT, MISSING = range(4)
N_FRAMES, GOP = 48, 12

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264-cavlc.mp4": {"options": {"coder": "0"}},
    "h264-b.mp4": {"bframes": 2},
    "h264-open.mp4": {"bframes": 2, "open_gop": True},
    "hevc.mp4": {"codec": "libx265", "bframes": 2, "open_gop": True},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4-b.mp4": {"codec": "mpeg4", "bframes": 2},
}


def make(path: Path, **options: Any) -> Path:
    return make_video(path, n_frames=N_FRAMES, gop=GOP, width=128, height=96, **options)


def decode_all(
    video: Path | VideoIndex, start: int = 0, stop: int | None = None, threads: int = 3
) -> tuple[list[int], list[np.ndarray | None]]:
    """Statuses and pictures."""
    index = video if isinstance(video, VideoIndex) else index_video(video)
    frames = list(iter_frames(index, start, stop, threads=threads))
    end = index.n_frames if stop is None else stop
    assert [number for number, _, _ in frames] == list(range(start, end))
    pictures = [None if frame is None else frame.to_ndarray() for _, frame, _ in frames]
    statuses = [int(status) for _, _, status in frames]
    assert all((p is None) == (s == MISSING) for p, s in zip(pictures, statuses, strict=True))
    return statuses, pictures


def differing(
    pictures: Sequence[np.ndarray | None], others: Sequence[np.ndarray | None]
) -> list[int]:
    return [
        k
        for k, (a, b) in enumerate(zip(pictures, others, strict=True))
        if a is None or b is None or not np.array_equal(a, b)
    ]


def packet_of(video: Path, number: int) -> int:
    """The place in file order of the packet that holds a frame."""
    with av.open(str(video)) as container:
        times = [packet.pts for packet in container.demux(video=0) if packet.size]
    return times.index(sorted(times)[number])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [15, 24, 40])
@pytest.mark.parametrize("damage", [damage_packets, cut_packets])
def test_damage_is_bounded(kind: str, number: int, damage: Any, tmp_path: Path) -> None:
    if kind in ("hevc.mp4", "h264-cavlc.mp4") and damage is cut_packets:
        pytest.skip("what replaces the data is legal, and FFmpeg does not notice")
    whole = make(tmp_path / kind, **KINDS[kind])
    bad = damage(whole, tmp_path / f"bad-{kind}", [packet_of(whole, number)])
    statuses, pictures = decode_all(bad)
    _, expected = decode_all(whole)
    assert len(statuses) == N_FRAMES
    damaged = [k for k, status in enumerate(statuses) if status != OK]
    differs = differing(pictures, expected)
    assert differs, "the damage shows"
    assert set(differs) <= set(damaged), "nothing that is ok differs"
    assert statuses[number] >= CORRUPT
    # A B-frame damages nothing else; what builds on a frame lies between two keyframes.
    group = range(number // GOP * GOP - 3, number // GOP * GOP + GOP)
    if number % GOP == 0:
        group = range(group.start, group.stop + GOP)
    assert set(damaged) <= set(group)


@pytest.mark.parametrize("kind", ["h264-b.mp4", "h264-open.mp4", "mpeg4.avi"])
def test_a_range_knows_the_damage_before_it(kind: str, tmp_path: Path) -> None:
    whole = make(tmp_path / kind, **KINDS[kind])
    places = [packet_of(whole, number) for number in (14, 24, 43)]
    index = index_video(cut_packets(whole, tmp_path / f"bad-{kind}", places))
    statuses, pictures = decode_all(index)
    assert {SUSPECT} < set(statuses)
    for start in range(0, N_FRAMES, 5):
        stop = min(start + 7, N_FRAMES)
        part, part_pictures = decode_all(index, start, stop, threads=1 + start % 4)
        assert part == statuses[start:stop], f"from {start}"
        ok = [k for k in range(stop - start) if part[k] == OK]
        expected = [pictures[start + k] for k in ok]
        assert not differing([part_pictures[k] for k in ok], expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("mjpeg.mp4", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("intra.mp4", {"gop": 1}),
    ],
)
def test_where_every_frame_is_a_keyframe_damage_stays_in_its_frame(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    whole = make_video(tmp_path / name, n_frames=30, width=128, height=96, **options)
    bad = damage_packets(whole, tmp_path / f"bad-{name}", [7, 8, 20])
    statuses, pictures = decode_all(bad)
    assert [k for k, status in enumerate(statuses) if status != OK] == [7, 8, 20]
    assert SUSPECT not in statuses
    assert differing(pictures, decode_all(whole)[1]) == [7, 8, 20]


def test_damaged_jpeg_data_is_seen(tmp_path: Path) -> None:
    """FFmpeg conceals it without a word, unless it is asked for errors."""
    whole = make_video(
        tmp_path / "v.avi", n_frames=12, width=128, height=96, codec="mjpeg", pix_fmt="yuvj420p"
    )
    bad = cut_packets(whole, tmp_path / "bad.avi", [5])
    assert decode_all(bad)[0] == [OK] * 5 + [MISSING] + [OK] * 6


class TestWithoutTimes:
    """Videos whose frames are numbered as they come out of the decoder."""

    @pytest.mark.parametrize("bframes", [0, 2])
    def test_damage_is_bounded(self, bframes: int, tmp_path: Path) -> None:
        whole = make(tmp_path / "v.h264", bframes=bframes)
        bad = cut_packets(whole, tmp_path / "bad.h264", [27])
        index = index_video(bad)
        assert not index.seekable
        statuses, pictures = decode_all(index)
        _, expected = decode_all(whole)
        damaged = [k for k, status in enumerate(statuses) if status != OK]
        assert set(differing(pictures, expected)) <= set(damaged)
        assert {CORRUPT, SUSPECT} <= set(statuses)
        assert set(damaged) <= set(range(24, 36))
        assert decode_all(index, 30, 40)[0] == statuses[30:40]

    def test_an_intact_one_is_ok(self, tmp_path: Path) -> None:
        assert decode_all(make(tmp_path / "v.h264", bframes=2))[0] == [OK] * N_FRAMES


class TestKeyframes:
    def test_a_video_that_begins_between_keyframes(self, tmp_path: Path) -> None:
        whole = make(tmp_path / "whole.avi", codec="mpeg4")
        torn = without_packets(whole, tmp_path / "torn.avi", range(4))
        index = index_video(torn)
        statuses, _ = decode_all(index)
        assert statuses == [SUSPECT] * 8 + [OK] * 36
        assert decode_all(index, 5, 10)[0] == statuses[5:10]

    def test_leading_frames_of_a_video_that_begins_with_an_open_group(
        self, tmp_path: Path
    ) -> None:
        whole = make(tmp_path / "whole.mkv", codec="libx265", bframes=2, open_gop=True)
        first = packet_of(whole, GOP)
        torn = without_packets(whole, tmp_path / "torn.mkv", range(first))
        statuses, _ = decode_all(torn)
        n_leading = statuses.count(MISSING)
        assert 0 < n_leading < 4, "they build on what was cut off"
        assert statuses == [MISSING] * n_leading + [OK] * (len(statuses) - n_leading)

    def test_pictures_that_are_refreshed_bit_by_bit(self, tmp_path: Path) -> None:
        """The container calls frames keyframes from which decoding is not clean at once."""
        video = make(tmp_path / "v.mp4", options={"intra-refresh": "1"})
        index = index_video(video)
        assert len(index.keyframes) > 1
        _, expected = decode_all(index)
        for start in (GOP, 2 * GOP + 3):
            statuses, pictures = decode_all(index, start, start + 5)
            assert statuses == [OK] * 5
            assert not differing(pictures, expected[start : start + 5])

    def test_two_lost_keyframes_in_a_row(self, tmp_path: Path) -> None:
        whole = make(tmp_path / "v.avi", codec="mpeg4")
        bad = damage_packets(whole, tmp_path / "bad.avi", [12, 24])
        index = index_video(bad)
        statuses, _ = decode_all(index)
        assert statuses[:12] == [OK] * 12
        assert set(statuses[12:36]) <= {SUSPECT, CORRUPT, MISSING}
        assert statuses[36:] == [OK] * 12
        for start in (13, 25, 30):
            assert decode_all(index, start, start + 4)[0] == statuses[start : start + 4]


def test_the_end_of_a_truncated_video(tmp_path: Path) -> None:
    whole = make(tmp_path / "v.ts", bframes=0)
    index = index_video(truncate(whole, tmp_path / "cut.ts", 0.55))
    statuses, _ = decode_all(index)
    assert 20 < len(statuses) < 40
    assert statuses[-1] >= CORRUPT
    assert statuses[:-1] == [OK] * (len(statuses) - 1)


@pytest.mark.parametrize("threads", [1, 2, 5, 16])
@pytest.mark.parametrize("bframes", [0, 2])
def test_the_last_frame_is_judged_however_many_threads_decode(
    threads: int, bframes: int, tmp_path: Path
) -> None:
    """At the end, FFmpeg hands out pictures that other threads still decode."""
    whole = make(tmp_path / "v.mp4", bframes=bframes)
    last = packet_of(whole, N_FRAMES - 1)
    index = index_video(cut_packets(whole, tmp_path / "bad.mp4", [last]))
    for start in (0, 40, 47):
        statuses, _ = decode_all(index, start, threads=threads)
        assert statuses[-1] == CORRUPT, f"from {start}"


class TestSeeking:
    def test_a_frame_that_only_the_containers_own_table_counts(self, tmp_path: Path) -> None:
        """Read from the beginning, the file lacks it; a seek would count it."""
        whole = make(tmp_path / "v.avi", codec="mjpeg", pix_fmt="yuvj420p")
        with av.open(str(whole)) as container:
            places = [packet.pos for packet in container.demux(video=0) if packet.size]
        data = bytearray(whole.read_bytes())
        place = places[15]
        assert place is not None
        data[place - 8 : place] = b"\xff" * 8  # the chunk's header
        bad = tmp_path / "bad.avi"
        bad.write_bytes(bytes(data))
        index = index_video(bad)
        assert index.n_frames == N_FRAMES - 1
        statuses, pictures = decode_all(index)
        for start in range(0, index.n_frames, 7):
            stop = min(start + 4, index.n_frames)
            part, part_pictures = decode_all(index, start, stop)
            assert part == statuses[start:stop], f"from {start}"
            assert not differing(part_pictures, pictures[start:stop]), f"from {start}"

    def test_a_container_that_tells_no_places_is_read_up_to_the_keyframe(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = index_video(make(tmp_path / "v.mpg", codec="mpeg2video", bframes=2))
        fed: list[int] = []
        decode = decoding.decode
        monkeypatch.setattr(decoding, "decode", lambda p: fed.append(p.size) or decode(p))
        statuses, _ = decode_all(index, 40, 42)
        assert statuses == [OK, OK]
        assert len(fed) < 32, "only two groups of pictures are decoded"


def parts_of(
    monkeypatch: pytest.MonkeyPatch, index: VideoIndex, n: int | None = None
) -> list[bool]:
    """Whether each part in which a video is decoded is decoded with care."""
    made: list[bool] = []
    start = decoding._Part.__init__

    def noted(self: Any, index: VideoIndex, n: int, stop: int, way: Any, *rest: Any) -> None:
        made.append(way.careful)
        start(self, index, n, stop, way, *rest)

    monkeypatch.setattr(decoding._Part, "__init__", noted)
    for _ in iter_frames(index, 0, n, threads=3):
        pass
    return made


class TestFastAndCareful:
    def test_an_intact_video_is_decoded_in_one_go(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        index = index_video(make(tmp_path / "v.mp4", bframes=2))
        assert parts_of(monkeypatch, index) == [False]

    def test_care_ends_at_the_next_keyframe(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = make(tmp_path / "v.mp4")
        index = index_video(cut_packets(whole, tmp_path / "bad.mp4", [15]))
        # The fast way is some packets ahead when it notices.
        assert parts_of(monkeypatch, index) in ([False, True, False], [False, True, True, False])

    def test_care_is_taken_in_ever_longer_stretches_where_every_frame_is_a_keyframe(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = make(tmp_path / "v.avi", codec="mjpeg", pix_fmt="yuvj420p")
        bad = damage_packets(whole, tmp_path / "bad.avi", range(8, 48))
        assert len(parts_of(monkeypatch, index_video(bad))) < 20

    def test_errors_without_damage_are_taken_for_what_they_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some cameras write what decoders complain about, and can decode."""
        index = index_video(make(tmp_path / "v.mp4"))
        decode = decoding.decode

        def grumble(packet: Any) -> list[Any] | None:
            frames = decode(packet)
            fast = packet.stream.codec_context.thread_count > 1
            return None if fast and packet.pts == index.pts[15] else frames

        monkeypatch.setattr(decoding, "decode", grumble)
        assert parts_of(monkeypatch, index) in ([False, True, False], [False, True, True, False])
        assert decode_all(index)[0] == [OK] * N_FRAMES
