"""The packets of a video from a keyframe on, the same as when it is read from its beginning.

Where the index has a table of packets they are read by their places in the file; else FFmpeg
seeks, and what it finds is compared with what the index knows. Nothing is decoded here.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex
from raypose.video.packets import open_head, read_packets


@contextlib.contextmanager
def open_at(index: VideoIndex, k: int, hwaccel: Any) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A track with its packets from keyframe number `k` on, or from one before it."""
    if index.packets is not None:
        with open_head(index.packets, hwaccel) as head:
            stream = head.streams.video[0]
            first = int(index.pts[index.keyframes[k]]) if k > 0 else None
            packets = read_packets(index.path, index.packets, stream, index.time_base, first)
            with contextlib.closing(packets):
                yield stream, packets
        return
    with open_video(index.path, hwaccel) as container:
        stream = video_stream(container, index.path)
        yield stream, _packets_from(index, k, container, stream)


def _packets_from(index: VideoIndex, k: int, container: Any, stream: Any) -> Iterator[Any]:
    """Packets from keyframe number `k` on or, where a seek leads further back, from one before."""
    import av

    if k <= 0:
        yield from demux(container, stream)
        return
    time = int(index.pts[index.keyframes[k]])
    latest = k
    step = 1
    while k > 0:
        with contextlib.suppress(av.FFmpegError):
            container.seek(int(index.pts[index.keyframes[k]]), stream=stream)
            packets = itertools.dropwhile(_is_no_keyframe, demux(container, stream))
            first = next(packets, None)
            if first is not None and _is_known(index, first, latest):
                yield first
                yield from packets
                return
        # Some demuxers search by decoding time, and some have no index to search in.
        k -= step
        step *= 2
    with open_video(index.path) as fresh:
        everything = demux(fresh, video_stream(fresh, index.path))
        for packet in itertools.dropwhile(lambda packet: packet.pts != time, everything):
            packet.stream = stream
            yield packet


def _is_known(index: VideoIndex, packet: Any, latest: int) -> bool:
    """Whether a packet is one that it was when the file was read from its beginning.

    After a seek, times may be those of other frames: where a file is damaged and its own table of
    frames counts some that can't be read, and where a container tells few times and no places.
    """
    if packet.pts is None or packet.pos is None or index.keyframe_positions is None:
        return False
    number = int(np.searchsorted(index.pts, packet.pts))
    k = int(np.searchsorted(index.keyframes, number))
    if k > latest or int(index.keyframes[k]) != number or int(index.pts[number]) != packet.pts:
        return False
    return bool(index.keyframe_positions[k] == packet.pos)


def _is_no_keyframe(packet: Any) -> bool:
    return not packet.is_keyframe
