"""The packets of a video as columns: times and marks, read once, without decoding.

`index` reads a video's packets here; `numbering` decides from them how its frames are numbered.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raypose.video.container import decode, demux

Int64 = NDArray[np.int64]

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a time that is missing."""

_MAX_REORDER = 16
# Each B-frame lies between two others that come before it.
_REORDER_BY_ONE = {"mpeg1video", "mpeg2video", "mpeg4", "h263", "vc1", "wmv3"}
_VP8_SHOWN = 0x10
# How many packets may come before the first frame that can be decoded.
_PROBE_PACKETS = 300
# FFmpeg needs some packets to learn by how many frames a decoder reorders.
_FIRST_PACKETS = 64
_FIRST_BYTES = 8 << 20
_PLAIN_FORMATS = {"mov", "mp4"}
# Of packets that seem to lie in the file as they are decoded, one in so many is compared.
_COMPARE_EVERY = 997


@dataclass(frozen=True, slots=True)
class Traits:
    """What container and codec say about the order of their packets.

    Attributes:
        formats: FFmpeg's names of the container.
        codec: FFmpeg's name of the codec; empty where there is no decoder for it.
        may_reorder: whether the codec can show frames in another order than it decodes them.
        depth: by how many frames the decoder reorders at most.
    """

    formats: frozenset[str]
    codec: str
    may_reorder: bool
    depth: int


@dataclass(slots=True)
class Packets:
    """Columns of the packet table, in file order.

    Attributes:
        time_base: seconds per tick.
        traits: what container and codec say about the order of packets.
        pts: presentation times; `NO_TIME` where missing.
        dts: decoding times; `NO_TIME` where missing.
        size: bytes of each packet.
        position: first byte of each packet in the file; −1 where the container does not say.
        is_key: whether decoding can begin at the packet.
        is_shown: False where a player decodes the packet but never shows it.
        n_cut: packets that an edit list cuts off.
        n_corrupt: packets that the container marks as damaged.
        first_frame: the first frame that could be decoded; None where the first packets hold none.
        first_packets: the first packets themselves, where `is_plain`.
        is_plain: whether each packet goes into the decoder just as it lies in the file.
    """

    time_base: Fraction
    traits: Traits
    pts: Int64
    dts: Int64
    size: Int64
    position: Int64
    is_key: NDArray[np.bool_]
    is_shown: NDArray[np.bool_]
    n_cut: int
    n_corrupt: int
    first_frame: Any = None
    first_packets: Sequence[Any] = ()
    is_plain: bool = False

    @property
    def n_shown(self) -> int:
        return int(self.is_shown.sum())

    def in_presentation_order(self) -> tuple[Int64, Int64]:
        """Times of all frames, and the numbers of the keyframes."""
        pts = self.pts[self.is_shown]
        order = np.argsort(pts, kind="stable")
        keyframes = np.flatnonzero(self.is_key[self.is_shown][order]).astype(np.int64)
        if len(keyframes) == 0 or keyframes[0] != 0:
            keyframes = np.concatenate([np.zeros(1, np.int64), keyframes])
        return pts[order], keyframes

    def positions_of(self, frames: Int64) -> Int64:
        """First byte of the packet of each of these frames, which are numbered by their times."""
        order = np.argsort(self.pts[self.is_shown], kind="stable")
        return self.position[self.is_shown][order][frames]


def scan_packets(path: str, container: Any, stream: Any) -> Packets:
    """Read all packets of a track, and decode up to its first frame."""
    traits = _traits(container, stream)  # which decoding changes
    is_vp8 = traits.codec == "vp8"
    is_plain = not _PLAIN_FORMATS.isdisjoint(traits.formats)
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
    marks = np.frombuffer(flags, np.int8) if flags else np.zeros(0, np.int8)
    return Packets(
        time_base=stream.time_base,
        traits=traits,
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
        is_plain=is_plain and bool(sizes),
    )


def _lies_in(path: str, packet: Any) -> bool:
    with open(path, "rb", buffering=0) as file:
        return bool(os.pread(file.fileno(), packet.size, packet.pos) == bytes(packet))


def _traits(container: Any, stream: Any) -> Traits:
    formats = frozenset(container.format.name.split(","))
    context = stream.codec_context
    if context is None:
        return Traits(formats, "", may_reorder=False, depth=0)
    codec, may_reorder = context.codec.canonical_name, bool(context.codec.reorder)
    # PyAV 17 says whether frames are reordered, but not by how many.
    depth = int(getattr(context, "reorder_depth", _MAX_REORDER if context.has_b_frames else 0))
    # For MP4, FFmpeg derives the depth from the times, whatever the codec can do.
    most = 1 if codec in _REORDER_BY_ONE else _MAX_REORDER if may_reorder else 0
    return Traits(formats, codec, may_reorder, min(depth, most))
