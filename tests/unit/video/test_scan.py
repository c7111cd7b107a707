"""The scan: what the packets of a track say."""

from __future__ import annotations

from pathlib import Path

import av

from raypose.video.container import open_video, video_stream
from raypose.video.index import index_video
from raypose.video.packets import Packets, scan_packets
from tests.videos import make_video, read_with_opencv


def scan(path: Path) -> Packets:
    with open_video(str(path)) as container:
        return scan_packets(str(path), container, video_stream(container, str(path)))


def test_columns(tmp_path: Path) -> None:
    packets = scan(make_video(tmp_path / "v.mp4", bframes=2))
    assert (
        packets.is_shown.sum() == len(packets.pts) == len(packets.dts) == len(packets.size) == 30
    )
    assert packets.codec == "h264" and packets.may_reorder
    assert packets.depth >= 1
    assert packets.is_key.sum() == 3


def test_codecs_that_never_reorder(tmp_path: Path) -> None:
    packets = scan(make_video(tmp_path / "v.webm", codec="libvpx-vp9"))
    assert (packets.may_reorder, packets.depth) == (False, 0)


def test_vp8_frames_that_are_never_shown_have_no_row(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.webm", codec="libvpx")
    with av.open(str(whole)) as container:
        payloads = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for k in (7, 8, 15):
        data[data.index(payloads[k])] &= ~0x10
    hidden = tmp_path / "hidden.webm"
    hidden.write_bytes(data)
    index = index_video(hidden)
    assert index.n_frames == len(read_with_opencv(hidden)) == 27
    assert not any("edit list" in problem for problem in index.notes)
