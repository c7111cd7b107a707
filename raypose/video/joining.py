"""Parts of one encoded video, joined into one file: nothing is decoded, and nothing encoded again.

The parts come from `VideoWriter` with the same settings, so that one header serves the packets of
all of them. This module does not encode.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from raypose.errors import OutputError, from_os_error
from raypose.video.container import demux, open_video, video_stream
from raypose.video.index import VideoIndex
from raypose.video.mp4 import mp4_options


def join_parts(
    parts: Sequence[str | os.PathLike[str]],
    begins: Sequence[int],
    out_path: str | os.PathLike[str],
    like: VideoIndex,
) -> None:
    """Write the packets of all parts, one after the other, into an MP4.

    Args:
        parts: MP4 files, each of which begins at time 0 with a keyframe.
        begins: when each begins in the whole, ascending, in `like.time_base`.
        out_path: the MP4 to write.
        like: the video whose rotation is taken over.

    Raises:
        OutputError: the file can't be written.
        ValueError: the parts were not encoded alike.
    """
    import av

    try:
        with av.open(
            "file:" + os.path.abspath(out_path),
            "w",
            format="mp4",
            options=mp4_options(like.time_base),
        ) as target:
            joined: Any = None
            header = b""
            for part, begin in zip(parts, begins, strict=True):
                with open_video(os.fspath(part)) as source:
                    stream = video_stream(source, os.fspath(part))
                    if joined is None:
                        header = stream.codec_context.extradata
                        joined = target.add_stream_from_template(stream)
                        if like.rotation:
                            joined.set_display_rotation(-like.rotation)
                    elif stream.codec_context.extradata != header:
                        raise ValueError(f"{part} is encoded otherwise than the parts before it")
                    _copy(source, stream, joined, target, begin * like.time_base)
    except OSError as error:
        named = from_os_error(error)
        message = named.message if named else f"the video can't be written ({error.strerror})"
        raise OutputError(message, path=out_path, hint=named.hint if named else "") from error


def _copy(source: Any, stream: Any, joined: Any, target: Any, begin_s: Fraction) -> None:
    """The packets of one part, later by where it begins."""
    ticks = begin_s / stream.time_base
    for packet in demux(source, stream):
        if packet.dts is None:  # the empty packet at the end
            continue
        packet.pts += round(ticks)
        packet.dts += round(ticks)
        packet.stream = joined
        target.mux(packet)
