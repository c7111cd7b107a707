"""What a video may ask for: headers that claim more than the file can hold are refused.

FFmpeg believes a header. An MP4 of a few kilobytes that claims fifty million frames takes it
3.6 GB to open, and a picture size of 16383 x 16383 takes 400 MB for each picture that the decoder
keeps. `check_claims` reads the boxes of an MP4 before FFmpeg does; `MAX_PIXELS` bounds pictures,
in the header and inside the stream.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from raypose.errors import VideoError

MAX_PIXELS = 8192 * 4352
"""Pixels of the largest picture that is read: the most that any level of H.264 has, and more than
8K (7680 x 4320). A decoder keeps up to 16 pictures, of 1.5 bytes per pixel as most videos are
coded, besides those that its threads work on: 8K H.264 took 259 MiB to plan, and 1.1 GiB to read
on two cores."""

_ALWAYS_ALLOWED = 1_000_000
"""Frames that a header may claim however small the file is. FFmpeg takes 72 bytes for each."""
_MIN_FRAME_BYTES = 32
"""Of a file whose header claims more, at least as many bytes per frame must be there. Of a
recording that was cut short, much less than a tenth may be left."""

_PARENTS = {
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"mvex", b"moof", b"traf",
    b"dinf", b"tref", b"tapt", b"wave", b"gmhd",
}  # fmt: skip
_MAX_DEPTH = 12
# FFmpeg groups the samples of sound that isn't compressed by as many.
_GROUPED = 1024
_MAX_UNPACKED = 64 << 20


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


def check_claims(path: str) -> None:
    """Refuse an MP4 or MOV whose header claims far more frames than the file can hold.

    Raises:
        VideoError: it does.
    """
    size = os.path.getsize(path)
    tracks = [_Track()]
    with open(path, "rb") as file:
        _walk(file, 0, size, tracks, 0)
    n_claimed = sum(track.n_claimed for track in tracks)
    if n_claimed > max(_ALWAYS_ALLOWED, size // _MIN_FRAME_BYTES):
        raise VideoError(
            f"its header claims {n_claimed:,} frames, more than a file of {size:,} bytes can hold",
            path=path,
            hint="Copy, record or export it again, or leave it out.",
        )


def check_size(width: int, height: int, path: str) -> None:
    """Refuse pictures that are too large.

    Raises:
        VideoError: they have more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise VideoError(
            f"its pictures of {width} x {height} pixels are larger than the largest that is read "
            f"({MAX_PIXELS:,} pixels)",
            path=path,
            hint="Scale the video down, or leave it out.",
        )


def _walk(file: BinaryIO, start: int, stop: int, tracks: list[_Track], depth: int) -> None:
    for kind, begin, end in _boxes(file, start, stop):
        if kind == b"trak" or kind == b"traf":
            tracks.append(_Track())
        if kind in _PARENTS and depth < _MAX_DEPTH:
            _walk(file, begin, end, tracks, depth + 1)
        elif kind == b"cmov":
            _walk_packed(file, begin, end, tracks, depth)
        elif kind in _READERS:
            file.seek(begin)
            head = file.read(min(end - begin, 20))
            if len(head) >= 12:
                _READERS[kind](head, tracks[-1])


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte inside and end of each box; ends where there is none."""
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


def _walk_packed(file: BinaryIO, start: int, stop: int, tracks: list[_Track], depth: int) -> None:
    """QuickTime's compressed header."""
    for kind, begin, end in _boxes(file, start, stop):
        if kind == b"cmvd" and depth < _MAX_DEPTH:
            file.seek(begin + 4)
            try:
                data = zlib.decompressobj().decompress(file.read(end - begin - 4), _MAX_UNPACKED)
            except zlib.error:
                return
            if len(data) == _MAX_UNPACKED:
                tracks[-1].n_samples += _MAX_UNPACKED * _MIN_FRAME_BYTES
            _walk(io.BytesIO(data), 0, len(data), tracks, depth + 1)


def _number(head: bytes, at: int) -> int:
    return int.from_bytes(head[at : at + 4], "big")


def _read_sizes(head: bytes, track: _Track) -> None:
    track.n_samples += _number(head, 8)


def _read_times(head: bytes, track: _Track) -> None:
    track.is_grouped = _number(head, 4) == 1 and _number(head, 12) == 1


def _read_handler(head: bytes, track: _Track) -> None:
    track.is_sound = track.is_sound or head[8:12] == b"soun"


def _read_edits(head: bytes, track: _Track) -> None:
    track.n_edits = max(track.n_edits, _number(head, 4))


def _read_run(head: bytes, track: _Track) -> None:
    track.n_samples += _number(head, 4)


_READERS: dict[bytes, Any] = {
    b"stsz": _read_sizes,
    b"stz2": _read_sizes,
    b"stts": _read_times,
    b"hdlr": _read_handler,
    b"elst": _read_edits,
    b"trun": _read_run,
}
