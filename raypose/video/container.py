"""Opening a video file: its track, its packets, and the error where it can't be opened.

All of raypose reads videos in one way: the first video track that is not a cover picture,
continuing after spots that can't be read. FFmpeg's errors end here. FFmpeg believes a header: an
MP4 of a few kilobytes that claims fifty million frames takes it 3.6 GB to open, and a picture size
of 16383 x 16383 takes 400 MB for each picture that the decoder keeps. `check_claims` reads the
boxes of an MP4 before FFmpeg does; `BOUNDED` bounds pictures, also inside the stream.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from raypose.errors import NoVideoTrackError, VideoError
from raypose.limits import (
    MAX_CLAIMED_FRAMES,
    MAX_HEADER_BYTES,
    MAX_PICTURE_PIXELS,
    MIN_FRAME_BYTES,
)

BOUNDED = {"max_pixels": str(MAX_PICTURE_PIXELS)}
"""Options of a decoder."""

_CONVERT = "If it plays elsewhere, convert it to an H.264 MP4; else leave it out."
_PARENTS = {
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf",
    b"dinf", b"tref", b"tapt", b"wave", b"gmhd", b"cmov",
}  # fmt: skip
_COUNTING = {b"stsz", b"stz2", b"stts", b"hdlr", b"elst", b"trun"}
_MAX_DEPTH = 12
# FFmpeg groups the samples of sound that isn't compressed by as many.
_GROUPED = 1024


def open_video(path: str, hwaccel: Any = None) -> Any:
    """Open a video with PyAV; its errors become a `VideoError` that says what to do.

    `hwaccel` are PyAV's settings of hardware that decodes; None for the CPU.
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
    """The first video stream that is not a cover picture, set to decode no too large picture."""
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            context = stream.codec_context
            if context is not None:
                check_size(context.width, context.height, path)
                context.options = BOUNDED
            return stream
    if not container.streams:
        raise VideoError("no track can be found in the file", path=path, hint=_CONVERT)
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
        hint = "Ask its owner for read permission."
        raise VideoError("the file may not be read", path=path, hint=hint) from None
    except OSError as error:
        raise VideoError(f"the file can't be read ({error.strerror})", path=path) from None
    if size == 0:
        hint = "Copy or record it again, or leave it out."
        raise VideoError("the file is empty", path=path, hint=hint)
    return size


def check_size(width: int, height: int, path: str) -> None:
    """Refuse pictures that are too large."""
    if width * height > MAX_PICTURE_PIXELS:
        raise VideoError(
            f"its pictures of {width} x {height} pixels are larger than the largest that is read "
            f"({MAX_PICTURE_PIXELS:,} pixels)",
            path=path,
            hint="Scale the video down, or leave it out.",
        )


def check_claims(path: str) -> None:
    """Refuse an MP4 or MOV whose header claims far more frames than the file can hold."""
    size = os.path.getsize(path)
    tracks = [_Track()]
    with open(path, "rb") as file:
        _walk(file, 0, size, tracks, 0)
    n_claimed = sum(track.n_claimed for track in tracks)
    if n_claimed > max(MAX_CLAIMED_FRAMES, size // MIN_FRAME_BYTES):
        raise VideoError(
            f"its header claims {n_claimed:,} frames, more than a file of {size:,} bytes can hold",
            path=path,
            hint="Copy, record or export it again, or leave it out.",
        )


def _why_not_opened(path: str, error: Exception) -> VideoError:
    check_file(path)
    with open(path, "rb") as file:
        kinds = [kind for kind, _, _ in _boxes(file, 0, os.path.getsize(path))]
    is_mp4 = bool(kinds) and kinds[0] in (b"ftyp", b"wide", b"mdat", b"skip", b"free")
    if is_mp4 and b"moov" not in kinds:
        return VideoError(
            "the recording was never finished: its index (moov) is missing, without which "
            "nothing in it can be found",
            path=path,
            hint="A repair tool such as untrunc can rebuild it from an intact video of the same "
            "camera.",
        )
    reason = getattr(error, "strerror", error)
    return VideoError(f"this is not a video that can be read ({reason})", path=path, hint=_CONVERT)


@dataclass(slots=True)
class _Track:
    """Numbers in the headers of one track, or of one fragment."""

    n_samples: int = 0
    n_edits: int = 1
    is_sound: bool = False
    is_grouped: bool = False

    @property
    def n_claimed(self) -> int:
        n = self.n_samples // _GROUPED if self.is_sound and self.is_grouped else self.n_samples
        return n * max(1, self.n_edits)

    def note(self, kind: bytes, head: bytes) -> None:
        """Take the numbers from the first bytes of a box."""
        first, second, third = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8, 12))
        match kind:
            case b"stsz" | b"stz2":
                self.n_samples += second
            case b"trun":
                self.n_samples += first
            case b"stts":
                self.is_grouped = first == third == 1
            case b"hdlr":
                self.is_sound |= head[8:12] == b"soun"
            case b"elst":
                self.n_edits = max(self.n_edits, first)


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte inside and end of each box of an MP4; ends where there is none."""
    while start + 8 <= stop:
        file.seek(start)
        head = file.read(16)
        kind, length, inside = head[4:8], int.from_bytes(head[:4], "big"), start + 8
        if length == 1 and len(head) == 16:
            length, inside = int.from_bytes(head[8:], "big"), start + 16
        end = stop if length == 0 else start + length
        if end < inside or not kind.strip(b"\xa9").isascii():
            return
        yield kind, inside, min(end, stop)
        start = end


def _walk(file: BinaryIO, start: int, stop: int, tracks: list[_Track], depth: int) -> None:
    for kind, begin, end in _boxes(file, start, stop):
        if kind in (b"trak", b"traf"):
            tracks.append(_Track())
        if kind in _PARENTS and depth < _MAX_DEPTH:
            _walk(file, begin, end, tracks, depth + 1)
        elif kind == b"cmvd" and depth < _MAX_DEPTH:  # QuickTime's compressed header
            file.seek(begin + 4)
            with contextlib.suppress(zlib.error):
                packed = file.read(end - begin - 4)
                data = zlib.decompressobj().decompress(packed, MAX_HEADER_BYTES)
                if len(data) == MAX_HEADER_BYTES:
                    tracks[-1].n_samples += MAX_HEADER_BYTES * MIN_FRAME_BYTES
                _walk(io.BytesIO(data), 0, len(data), tracks, depth + 1)
        elif kind in _COUNTING:
            file.seek(begin)
            head = file.read(min(end - begin, 20))
            if len(head) >= 12:
                tracks[-1].note(kind, head)
