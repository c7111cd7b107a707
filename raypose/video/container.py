"""Opening a video file: its track, its packets, and the error where it can't be opened.

All of raypose opens videos here and reads them in one way: the first video track that is not a
cover picture, continuing after spots that can't be read. FFmpeg's errors end here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from raypose.errors import NoVideoTrackError, VideoError
from raypose.video.limits import MAX_PIXELS, check_size

BOUNDED = {"max_pixels": str(MAX_PIXELS)}
"""Options of a decoder."""


def open_video(path: str, hwaccel: Any = None) -> Any:
    """Open a video with PyAV; its errors become a `VideoError` that says what to do.

    Args:
        path: the file.
        hwaccel: PyAV's settings of hardware that decodes; None for the CPU.
    """
    import av

    try:
        return av.open(
            # Without the protocol, FFmpeg takes what comes before a colon in a name for one.
            "file:" + os.path.abspath(path),
            hwaccel=hwaccel,
            # FFmpeg decodes some frames to learn what the header leaves open.
            options=BOUNDED,
            metadata_errors="replace",
        )
    except av.FFmpegError as error:
        raise _why_not_opened(path, error) from error


def video_stream(container: Any, path: str) -> Any:
    """The first video stream that is not a cover picture, set to decode no too large picture.

    Raises:
        NoVideoTrackError: there are other tracks alone.
        VideoError: there is no track at all, or its pictures are too large.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            context = stream.codec_context
            if context is not None:
                check_size(context.width, context.height, path)
                context.options = BOUNDED
            return stream
    if not container.streams:
        raise VideoError(
            "no track can be found in the file",
            path=path,
            hint="If it plays elsewhere, convert it to an H.264 MP4; else leave it out.",
        )
    raise NoVideoTrackError("there is no video track in the file", path=path, hint="Leave it out.")


def demux(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream in file order, going on after spots that can't be read.

    The last packet is empty: it makes the decoder hand out what it holds back.
    """
    import av

    n_before = n_packets = 0
    # PyAV trips at the end of a file in which damage made another track appear.
    with contextlib.suppress(IndexError):
        while True:
            with contextlib.suppress(av.FFmpegError):
                for packet in container.demux(stream):
                    n_packets += 1
                    yield packet
                return
            if n_packets == n_before:
                return
            n_before = n_packets


def decode(packet: Any) -> list[Any] | None:
    """Frames that come out when a packet goes in; None where that fails."""
    import av

    try:
        frames: list[Any] = packet.decode()
    except av.FFmpegError:
        return None
    return frames


def check_file(path: str) -> int:
    """Size of a file that can be read.

    Raises:
        VideoError: it is missing, no file, empty, or may not be read.
    """
    try:
        size = os.stat(path).st_size
        if os.path.isdir(path):
            raise VideoError("this is a directory, not a video", path=path)
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise VideoError("there is no such file", path=path, hint="Check the path.") from None
    except PermissionError:
        raise VideoError(
            "the file may not be read", path=path, hint="Ask its owner for read permission."
        ) from None
    except OSError as error:
        raise VideoError(f"the file can't be read ({error.strerror})", path=path) from None
    if size == 0:
        raise VideoError(
            "the file is empty", path=path, hint="Copy or record it again, or leave it out."
        )
    return size


def _why_not_opened(path: str, error: Exception) -> VideoError:
    check_file(path)
    if _lacks_moov(path):
        return VideoError(
            "the recording was never finished: its index (moov) is missing, without which "
            "nothing in it can be found",
            path=path,
            hint="A repair tool such as untrunc can rebuild it from an intact video of the same "
            "camera.",
        )
    return VideoError(
        f"this is not a video that can be read ({getattr(error, 'strerror', error)})",
        path=path,
        hint="If it plays elsewhere, convert it to an H.264 MP4; else leave it out.",
    )


def _lacks_moov(path: str) -> bool:
    """Whether the file begins like an MP4 or MOV but has no box with the index."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        place = 0
        while place + 8 <= size:
            file.seek(place)
            head = file.read(16)
            kind, length = head[4:8], int.from_bytes(head[:4], "big")
            if place == 0 and kind not in (b"ftyp", b"wide", b"mdat", b"skip", b"free"):
                return False
            if kind == b"moov":
                return False
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return True
            place += length
        return place > 0
