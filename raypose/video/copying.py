"""Encoded videos, copied packet by packet: nothing is decoded or encoded again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex
from raypose.video.mp4 import count_shown, open_mp4, write_error


def copy_plain(index: VideoIndex, out_path: str | os.PathLike[str]) -> bool:
    """Copy the frames of a plain H.264 video into an MP4.

    Plain is what every player shows alike: 4:2:0, not rotated, from time 0 on, all packets shown.

    Args:
        index: the video.
        out_path: the MP4 to write.

    Returns:
        False where the video is not plain; what was written by then must be overwritten.

    Raises:
        VideoError: the video can't be read.
    """
    plain = index.codec == "h264" and index.pix_fmt == "yuv420p" and index.rotation == 0
    if not plain or index.notes or not index.seekable or int(index.pts[0]) != 0:
        return False
    with open_video(index.path) as source:
        stream = video_stream(source, index.path)
        with open_mp4(out_path, stream.time_base) as target:
            _copy(source, stream, target.add_stream_from_template(stream), target)
    return count_shown(out_path) == index.n_frames


def join_parts(
    parts: Sequence[str],
    begins: Sequence[int],
    out_path: str | os.PathLike[str],
    like: VideoIndex,
) -> None:
    """Write the packets of all parts, one after the other, into an MP4.

    Args:
        parts: MP4 files by `VideoWriter` with the same settings, so that one header serves all;
            each begins at time 0 with a keyframe.
        begins: when each begins in the whole, ascending, in `like.time_base`.
        out_path: the MP4 to write.
        like: the video whose rotation is taken over.

    Raises:
        OutputError: the file can't be written.
        ValueError: the parts were not encoded alike.
    """
    try:
        with open_mp4(out_path, like.time_base) as target:
            joined: Any = None
            header = b""
            for part, begin in zip(parts, begins, strict=True):
                with open_video(part) as source:
                    stream = video_stream(source, part)
                    if joined is None:
                        header = stream.codec_context.extradata
                        joined = target.add_stream_from_template(stream)
                        if like.rotation:
                            joined.set_display_rotation(-like.rotation)
                    elif stream.codec_context.extradata != header:
                        raise ValueError(f"{part} is encoded otherwise than the parts before it")
                    ticks = round(begin * like.time_base / stream.time_base)
                    _copy(source, stream, joined, target, ticks)
    except OSError as error:
        raise write_error(error, out_path) from error


def _copy(source: Any, stream: Any, copy: Any, target: Any, ticks: int = 0) -> None:
    """Copy the packets of a stream, later by `ticks`."""
    for packet in demux(source, stream):
        if packet.dts is None:  # the empty packet at the end
            continue
        if ticks:
            packet.pts += ticks
            packet.dts += ticks
        packet.stream = copy
        target.mux(packet)
