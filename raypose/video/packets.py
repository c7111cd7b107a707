"""Packets of a video by their place in the file, without the container's own tables.

When FFmpeg opens an MP4 it reads the whole sample table: about 110 bytes per frame, in each
process and for each range of frames. If every packet lies in the file just as the decoder takes
it, `PacketTable` says where in a fifth of that memory, and `read_packets` reads only what is
decoded.

FFmpeg sets up the decoder from `head`, an MP4 of the first packets of the same track, which holds
all that the original says of its codec. `index` makes the table and `seeking` uses it. There is
none for other containers, edit lists, and packets that the container marks as damaged.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.storage.digests import RUN_AGAIN
from raypose.video.container import BOUNDED
from raypose.video.scan import NO_TIME, Packets

_TOLD_BY_HEAD = (
    "name", "codec_tag", "extradata", "width", "height", "has_b_frames", "profile",
    "color_range", "colorspace", "color_primaries", "color_trc",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class PacketTable:
    """Where the packets of a track are, in the order in which they are decoded.

    Attributes:
        pts: (n,) int64 presentation times, in the time base of the track.
        position: (n,) int64 first byte of each packet in the file.
        size: (n,) int32 bytes of each packet.
        head: an MP4 of the track's first packets.
    """

    pts: NDArray[np.int64]
    position: NDArray[np.int64]
    size: NDArray[np.int32]
    head: bytes


def packet_table(path: str, packets: Packets, head: bytes | None) -> PacketTable | None:
    """The table of a video's packets; None where only FFmpeg can read them."""
    if head is None or int((packets.position + packets.size).max()) > os.path.getsize(path):
        return None
    return PacketTable(packets.pts, packets.position, packets.size.astype(np.int32), head)


def make_head(packets: Packets, stream: Any, description: tuple[Any, ...]) -> bytes | None:
    """The first packets as a file of their own; None where that would tell a decoder less.

    Args:
        packets: all packets of the track.
        stream: the track.
        description: of the track, before anything was decoded.
    """
    import av

    if not packets.is_plain:
        return None
    # Some codecs have another name in a MOV. The first packet seldom leaves anything open.
    for form, n in itertools.product(("mp4", "mov"), (1, len(packets.first_packets))):
        with contextlib.suppress(av.FFmpegError, ValueError, IndexError):
            head = _copy_packets(packets, n, stream, form)
            with av.open(io.BytesIO(head)) as copy:
                if describe_track(copy.streams.video[0]) == description:
                    return head
    return None


def describe_track(stream: Any) -> tuple[Any, ...]:
    """What a container tells the decoder of a track.

    Not `codec_context.pix_fmt`: before PyAV 18 it crashes the process where no frame of the track
    could be decoded, so that its pixel format is unknown.
    """
    context = stream.codec_context
    pixels = context.format.name if context.format is not None else None
    return (pixels, *(getattr(context, name) for name in _TOLD_BY_HEAD))


def _copy_packets(packets: Packets, n: int, stream: Any, form: str) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as target:
        copy = target.add_stream_from_template(stream)
        for k, packet in enumerate(packets.first_packets[:n]):
            packet.stream, packet.time_base = copy, packets.time_base
            packet.pts = int(packets.pts[k])
            packet.dts = None if packets.dts[k] == NO_TIME else int(packets.dts[k])
            target.mux(packet)
    return buffer.getvalue()


def open_head(table: PacketTable, hwaccel: Any = None) -> Any:
    """The head as a container, whose one track has a decoder for the packets of the table."""
    import av

    head = av.open(io.BytesIO(table.head), hwaccel=hwaccel, options=BOUNDED)
    head.streams.video[0].codec_context.options = BOUNDED
    return head


def read_packets(
    path: str, table: PacketTable, stream: Any, time_base: Fraction, first_pts: int | None
) -> Generator[Any, None, None]:
    """Packets of the file from a keyframe on.

    Args:
        path: the video.
        table: its packets.
        stream: track of the head, which is given the packets.
        time_base: seconds a tick of the video's times.
        first_pts: time of the keyframe; None for the beginning.

    Yields:
        Packets; the last one is empty: it makes the decoder hand out what it holds back.

    Raises:
        VideoError: the file has become shorter.
    """
    import av

    first = 0 if first_pts is None else int(np.argmax(table.pts == first_pts))
    with open(path, "rb", buffering=0) as file:
        for n in range(first, len(table.size)):
            # A packet made of Python's bytes is freed under Python's lock: a decoder's thread that
            # frees one would wait for a caller who waits for that thread.
            packet = av.Packet(int(table.size[n]))
            content = os.pread(file.fileno(), packet.size, int(table.position[n]))
            if len(content) != packet.size:
                raise VideoError("the video changed while it was read", path=path, hint=RUN_AGAIN)
            packet.update(content)
            packet.pts = int(table.pts[n])
            packet.time_base = time_base
            packet.stream = stream
            yield packet
    yield end_packet(stream)


def end_packet(stream: Any) -> Any:
    """An empty packet: it makes the decoder hand out what it holds back."""
    import av

    packet = av.Packet()
    packet.time_base, packet.stream = stream.time_base, stream
    return packet


def filler_packet(stream: Any) -> Any:
    """A packet of H.264 that says nothing."""
    import av

    filler = b"\x0c\xff\x80"
    setup = stream.codec_context.extradata or b""
    # As in MP4, where a length comes before each unit of data; else each has a start code.
    if setup[:1] == b"\x01":
        data = len(filler).to_bytes((setup[4] & 3) + 1, "big") + filler
    else:
        data = b"\x00\x00\x00\x01" + filler
    packet = av.Packet(len(data))  # a copy, as in `read_packets`
    packet.update(data)
    packet.time_base, packet.stream = stream.time_base, stream
    return packet
