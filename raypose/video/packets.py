"""The packets of a video: all of them once, as columns, or those from a keyframe on.

`index` reads the columns with `scan_packets`, and `numbering` decides from them how frames are
numbered. `decoding` reads packets with `open_at`, the same as from the beginning of the file.

When FFmpeg opens an MP4 it reads the whole sample table: about 110 bytes per frame, in each
process and for each range of frames. If every packet lies in the file just as the decoder takes
it, `PacketTable` says where in a fifth of that memory. FFmpeg sets up the decoder from its `head`,
an MP4 of the first packets of the same track, which holds all that the original says of its
codec. For other containers, edit lists, and packets that the container marks as damaged there is
no table: FFmpeg seeks, and what it finds is compared with what the index knows.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from raypose.errors import VideoError
from raypose.storage.digests import RUN_AGAIN
from raypose.video.container import BOUNDED, decode, demux, open_video, video_stream
from raypose.video.turns import Turns

if TYPE_CHECKING:
    from raypose.video.index import VideoIndex

Int64 = NDArray[np.int64]

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a time that is missing."""

_MAX_REORDER = 16
# Each B-frame lies between two others that come before it.
_REORDER_BY_ONE = {"mpeg1video", "mpeg2video", "mpeg4", "h263", "vc1", "wmv3"}
_VP8_SHOWN = 0x10
_SCANS = Turns(most=16)
# How many packets may come before the first frame that can be decoded.
_PROBE_PACKETS = 300
# FFmpeg needs some packets to learn by how many frames a decoder reorders.
_FIRST_PACKETS = 64
_FIRST_BYTES = 8 << 20
_PLAIN_FORMATS = {"mov", "mp4"}
# Packets that should lie in the file as the decoder gets them are compared at this interval.
_COMPARE_EVERY = 997
_TOLD_BY_HEAD = (
    "name", "codec_tag", "extradata", "width", "height", "has_b_frames", "profile",
    "color_range", "colorspace", "color_primaries", "color_trc",
)  # fmt: skip


@dataclass(slots=True)
class Packets:
    """Columns of the packet table, in file order."""

    time_base: Fraction  # seconds per tick
    formats: frozenset[str]  # FFmpeg's names of the container
    codec: str  # FFmpeg's name
    may_reorder: bool  # the codec can show frames in another order than it decodes them
    depth: int  # by how many frames the decoder reorders at most
    pts: Int64  # presentation times; `NO_TIME` where missing
    dts: Int64  # decoding times; `NO_TIME` where missing
    size: Int64  # bytes
    position: Int64  # first byte in the file; −1 where the container does not say
    is_key: NDArray[np.bool_]  # decoding can begin at the packet
    is_shown: NDArray[np.bool_]  # False where a player decodes the packet but never shows it
    n_cut: int  # packets that an edit list cuts off
    n_corrupt: int  # packets that the container marks as damaged
    first_frame: Any  # that could be decoded; None where the first packets hold none
    first_packets: Sequence[Any]  # where `is_plain`
    is_plain: bool  # each packet is whole and goes into the decoder just as it lies in the file

    def in_presentation_order(self) -> tuple[Int64, Int64, Int64]:
        """Times of all frames, the numbers of the keyframes, and the first byte of each of these.

        Frames are numbered by their times.
        """
        pts = self.pts[self.is_shown]
        order = np.argsort(pts, kind="stable")
        keyframes = np.flatnonzero(self.is_key[self.is_shown][order]).astype(np.int64)
        if len(keyframes) == 0 or keyframes[0] != 0:
            keyframes = np.concatenate([np.zeros(1, np.int64), keyframes])
        return pts[order], keyframes, self.position[self.is_shown][order][keyframes]


@dataclass(frozen=True, slots=True, eq=False)
class PacketTable:
    """Where the packets of a track are, in the order in which they are decoded."""

    pts: Int64  # presentation times, in the time base of the track
    position: Int64  # first byte of each packet in the file
    size: NDArray[np.int32]  # bytes of each packet
    head: bytes  # an MP4 of the track's first packets


def scan_packets(path: str, container: Any, stream: Any) -> Packets:
    """Read all packets of a track, and decode up to its first frame."""
    with _SCANS.turn():
        return _scan(path, container, stream)


def _scan(path: str, container: Any, stream: Any) -> Packets:
    traits = _traits(container, stream)  # which decoding changes
    is_vp8 = traits["codec"] == "vp8"
    is_plain = not _PLAIN_FORMATS.isdisjoint(traits["formats"])
    pts, dts, sizes, positions, flags = (array(kind) for kind in "qqqqb")
    n_cut = n_corrupt = 0
    first_frame, first_packets = None, []
    stream.codec_context.thread_count = 1  # for one frame, threads cost more than they save
    for n, packet in enumerate(demux(container, stream)):
        if first_frame is None and n <= _PROBE_PACKETS:
            first_frame = next(iter(decode(packet) or ()), None)
        size = packet.size
        if not size:
            continue
        time, decoding_time, position = packet.pts, packet.dts, packet.pos
        is_cut, is_corrupt = packet.is_discard, packet.is_corrupt
        pts.append(NO_TIME if time is None else time)
        dts.append(NO_TIME if decoding_time is None else decoding_time)
        sizes.append(size)
        positions.append(-1 if position is None else position)
        hidden = is_cut or (is_vp8 and not memoryview(packet)[0] & _VP8_SHOWN)
        flags.append(packet.is_keyframe | (hidden << 1))
        n_cut += is_cut
        n_corrupt += is_corrupt
        if is_plain:
            if n < _FIRST_PACKETS and positions[-1] - positions[0] < _FIRST_BYTES:
                first_packets.append(packet)
            is_plain = not (
                is_cut
                or is_corrupt
                or time is None
                or position is None
                or next(packet.iter_sidedata(), None) is not None
                or (n % _COMPARE_EVERY == 0 and not _lies_in(path, packet))
            )
    marks = np.array(flags, np.int8)
    ends = np.array(positions, np.int64) + np.array(sizes, np.int64)
    is_plain = is_plain and bool(sizes) and int(ends.max()) <= os.path.getsize(path)
    return Packets(
        time_base=stream.time_base,
        pts=np.array(pts, np.int64),
        dts=np.array(dts, np.int64),
        size=np.array(sizes, np.int64),
        position=np.array(positions, np.int64),
        is_key=(marks & 1).astype(bool),
        is_shown=(marks & 2) == 0,
        n_cut=n_cut,
        n_corrupt=n_corrupt,
        first_frame=first_frame,
        first_packets=first_packets if is_plain else (),
        is_plain=is_plain,
        **traits,
    )


def _lies_in(path: str, packet: Any) -> bool:
    with open(path, "rb", buffering=0) as file:
        return bool(os.pread(file.fileno(), packet.size, packet.pos) == bytes(packet))


def _traits(container: Any, stream: Any) -> dict[str, Any]:
    """What container and codec say about the order of their packets, as fields of `Packets`."""
    context = stream.codec_context
    codec, may_reorder = context.codec.canonical_name, bool(context.codec.reorder)
    # PyAV 17 says whether frames are reordered, but not by how many.
    depth = int(getattr(context, "reorder_depth", _MAX_REORDER if context.has_b_frames else 0))
    # For MP4, FFmpeg derives the depth from the times, whatever the codec can do.
    most = 1 if codec in _REORDER_BY_ONE else _MAX_REORDER if may_reorder else 0
    formats = frozenset(container.format.name.split(","))
    return dict(formats=formats, codec=codec, may_reorder=may_reorder, depth=min(depth, most))


def packet_table(
    packets: Packets, stream: Any, description: tuple[Any, ...]
) -> PacketTable | None:
    """The table of a video's packets; None where only FFmpeg can read them.

    `description` is of the track before anything was decoded: a head that would tell a decoder
    less is of no use.
    """
    import av

    if not packets.is_plain:
        return None
    # Some codecs have another name in a MOV. The first packet seldom leaves anything open.
    for form, n in itertools.product(("mp4", "mov"), (1, len(packets.first_packets))):
        buffer = io.BytesIO()
        with contextlib.suppress(av.FFmpegError, ValueError, IndexError):
            with av.open(buffer, "w", format=form) as target:
                copy = target.add_stream_from_template(stream)
                for k, packet in enumerate(packets.first_packets[:n]):
                    packet.stream, packet.time_base = copy, packets.time_base
                    packet.pts = int(packets.pts[k])
                    packet.dts = None if packets.dts[k] == NO_TIME else int(packets.dts[k])
                    target.mux(packet)
            head = buffer.getvalue()
            with av.open(io.BytesIO(head)) as written:
                if describe_track(written.streams.video[0]) == description:
                    size = packets.size.astype(np.int32)
                    return PacketTable(packets.pts, packets.position, size, head)
    return None


def describe_track(stream: Any) -> tuple[Any, ...]:
    """What a container tells the decoder of a track.

    Not `codec_context.pix_fmt`: before PyAV 18 it crashes the process where no frame of the track
    could be decoded, so that its pixel format is unknown.
    """
    context = stream.codec_context
    pixels = context.format.name if context.format is not None else None
    return (pixels, *(getattr(context, name) for name in _TOLD_BY_HEAD))


@contextlib.contextmanager
def open_at(index: VideoIndex, k: int, hwaccel: Any) -> Iterator[tuple[Any, Iterator[Any]]]:
    """A track with its packets from keyframe number `k` on, or from one before it.

    The last packet is empty: it makes the decoder hand out what it holds back.
    """
    if index.packets is None:
        with open_video(index.path, hwaccel) as container:
            stream = video_stream(container, index.path)
            yield stream, _packets_from(index, k, container, stream)
        return
    import av

    with av.open(io.BytesIO(index.packets.head), hwaccel=hwaccel, options=BOUNDED) as head:
        stream = head.streams.video[0]
        stream.codec_context.options = BOUNDED
        first = int(index.pts[index.keyframes[k]]) if k > 0 else None
        with contextlib.closing(_read_packets(index, index.packets, stream, first)) as packets:
            yield stream, packets


def _read_packets(
    index: VideoIndex, table: PacketTable, stream: Any, first_pts: int | None
) -> Any:
    """Packets of the table from the keyframe of that time on; None for the beginning."""
    first = 0 if first_pts is None else int(np.argmax(table.pts == first_pts))
    with open(index.path, "rb", buffering=0) as file:
        for n in range(first, len(table.size)):
            size = int(table.size[n])
            content = os.pread(file.fileno(), size, int(table.position[n]))
            if len(content) != size:
                message = "the video changed while it was read"
                raise VideoError(message, path=index.path, hint=RUN_AGAIN)
            packet = _packet(stream, content)
            packet.pts, packet.time_base = int(table.pts[n]), index.time_base
            yield packet
    yield end_packet(stream)


def _packet(stream: Any, content: bytes) -> Any:
    import av

    # A packet made of Python's bytes is freed under Python's lock: a decoder's thread that frees
    # one would wait for a caller who waits for that thread.
    packet = av.Packet(len(content))
    if content:
        packet.update(content)
    packet.time_base, packet.stream = stream.time_base, stream
    return packet


def end_packet(stream: Any) -> Any:
    """An empty packet: it makes the decoder hand out what it holds back."""
    return _packet(stream, b"")


def filler_packet(stream: Any) -> Any:
    """A packet of H.264 that says nothing."""
    filler = b"\x0c\xff\x80"
    setup = stream.codec_context.extradata or b""
    # As in MP4, where a length comes before each unit of data; else each has a start code.
    if setup[:1] == b"\x01":
        return _packet(stream, len(filler).to_bytes((setup[4] & 3) + 1, "big") + filler)
    return _packet(stream, b"\x00\x00\x00\x01" + filler)


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
            packets = demux(container, stream)
            first = next((packet for packet in packets if packet.is_keyframe), None)
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
