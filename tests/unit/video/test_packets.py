"""Packets read by their place in the file are those that FFmpeg's demuxer hands out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypose.video.index import VideoIndex, index_video
from raypose.video.reader import iter_frames
from tests.videos import damage_packets, edit_list, make_video, repeat_packets, truncate

DIRECT: dict[str, dict[str, Any]] = {
    "b-frames.mp4": {"bframes": 3, "open_gop": True},
    # Nothing in the stream itself says by how much this one reorders.
    "no-hint.mp4": {"bframes": 2, "options": {"x264-params": "bitstream-restriction=0"}},
    "hevc10.mp4": {"codec": "libx265", "pix_fmt": "yuv420p10le", "bframes": 2, "gop": 7},
    "mpeg4.mov": {"codec": "mpeg4", "bframes": 1},
    "mjpeg.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "full709.mp4": {"color_range": 2, "colorspace": 1},
    "turned.mp4": {"rotation": 90},
    "late.mp4": {"pts": [i + 50 for i in range(30)], "bframes": 2},
    "tracks.mp4": {"audio": True, "second_video": True},
    "one.mp4": {"n_frames": 1},
}


def frames_of(index: VideoIndex, start: int) -> list[tuple[Any, ...]]:
    """All that the frames say, and their pixels."""
    return [
        (n, None)
        if frame is None
        else (
            n, frame.pts, frame.time_base, frame.rotation, frame.format.name, frame.color_range,
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.pict_type,
            b"".join(bytes(plane) for plane in frame.planes),
        )
        for n, frame, _ in iter_frames(index, start)
    ]  # fmt: skip


@pytest.mark.parametrize("name", DIRECT)
def test_frames_are_those_of_the_demuxer(name: str, tmp_path: Path) -> None:
    index = index_video(make_video(tmp_path / name, **DIRECT[name]))
    assert index.packets is not None
    demuxed = dataclasses.replace(index, packets=None)
    for start in {0, index.n_frames // 2, index.n_frames - 1}:
        assert frames_of(index, start) == frames_of(demuxed, start)


def test_damage_inside_is_met_alike(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", bframes=2)
    index = index_video(damage_packets(whole, tmp_path / "damaged.mp4", [5, 6, 12]))
    assert index.packets is not None
    frames = frames_of(index, 0)
    assert frames == frames_of(dataclasses.replace(index, packets=None), 0)
    assert any(len(frame) == 2 for frame in frames)


def test_what_only_ffmpeg_understands_has_no_table(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", bframes=2, options={"movflags": "faststart"})
    odd = [
        make_video(tmp_path / "matroska.mkv"),
        make_video(tmp_path / "avi.avi", codec="mpeg4"),
        edit_list(whole, tmp_path / "cut.mp4", skip_frames=4),
        truncate(make_video(tmp_path / "ts.ts"), tmp_path / "short.ts", 0.7),
    ]
    assert [index_video(path).packets for path in odd] == [None] * len(odd)


# What reading some frames far inside adds to the memory of a process that has the index.
HELD = """
import sys
from raypose.worker.memory import limit_arenas, release_memory
from raypose.video.index import index_video
from raypose.video.reader import iter_frames

def own_mib():
    status = open("/proc/self/status").read()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024

limit_arenas()
index = index_video(sys.argv[1])
assert index.packets is not None
for _ in iter_frames(index, 0, 5):
    continue
release_memory()
before = own_mib()
most = 0
for _ in iter_frames(index, index.n_frames - 500, index.n_frames):
    most = max(most, own_mib())
print(most - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc")
def test_reading_takes_no_memory_for_the_length_of_the_video(tmp_path: Path) -> None:
    segment = make_video(tmp_path / "segment.mp4", n_frames=50)
    video = repeat_packets(tmp_path / "long.mp4", segment, 200_000)
    done = subprocess.run(
        [sys.executable, "-c", HELD, str(video)], capture_output=True, text=True, check=True
    )
    # FFmpeg's own table of these frames takes 21 MiB.
    assert float(done.stdout) < 8


def test_the_table_is_in_the_order_of_decoding(tmp_path: Path) -> None:
    video = make_video(tmp_path / "b-frames.mp4", bframes=2)
    table = index_video(video).packets
    assert table is not None
    with av.open(str(video)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    assert table.pts.tolist() == [p.pts for p in packets]
    data = video.read_bytes()
    for packet, at, size in zip(packets, table.position, table.size, strict=True):
        assert bytes(packet) == data[at : at + size]
    assert np.array_equal(np.sort(table.pts), index_video(video).pts)


def test_a_track_whose_pixel_format_is_unknown(tmp_path: Path) -> None:
    """No frame can be decoded: PyAV 17, the last one for Python 3.10, crashes if asked for it."""
    whole = make_video(tmp_path / "whole.mp4")
    index = index_video(damage_packets(whole, tmp_path / "bad.mp4", range(30)))
    assert index.pix_fmt == "unknown"
    assert index.packets is not None and len(index.packets.pts) == index.n_frames == 30
