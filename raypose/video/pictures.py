"""The order in which a codec shows its frames, read from the headers of its pictures.

`numbering` asks for it where the times of a container leave doubt. Only headers are read: the
picture order counts of H.264 and HEVC, and the kinds of pictures of MPEG-1, 2 and 4. Nothing is
decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypose.video.container import demux, open_video, video_stream

# Bytes of a header that are looked at; what is needed lies in the first few.
_HEAD = 96
_VOP = b"\x00\x00\x01\xb6"
_B_KIND = {"mpeg4": 2, "mpeg1video": 3, "mpeg2video": 3}


def coded_order(path: str) -> NDArray[np.int64] | None:
    """A number for each packet, in file order, that ascends in the order of presentation.

    None where the headers don't tell: another codec, rarely used ways of counting, or damage.
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        codec = stream.codec_context.codec.canonical_name
        packets = (bytes(packet) for packet in demux(container, stream) if packet.size)
        try:
            if codec in ("h264", "hevc"):
                return _by_counts(packets, codec, stream.codec_context.extradata or b"")
            if codec in _B_KIND:
                return _by_kinds(packets, codec)
        except (IndexError, KeyError, ValueError):
            return None
    return None


def _by_kinds(packets: Iterator[bytes], codec: str) -> NDArray[np.int64]:
    """A B-frame is shown at once, any other frame after the next one that is no B-frame."""
    shown: list[int] = []
    held: list[int] = []
    n = 0
    for n, data in enumerate(packets, 1):
        if _kind(data, codec) == _B_KIND[codec]:
            shown.append(n - 1)
        else:
            shown += held
            held = [n - 1]
    order = np.empty(n, np.int64)
    order[shown + held] = np.arange(n)
    return order


def _kind(data: bytes, codec: str) -> int:
    if codec != "mpeg4":
        return (data[data.index(b"\x00\x00\x01\x00") + 5] >> 3) & 7
    at = data.index(_VOP)
    if data.find(_VOP, at + 4) >= 0:
        raise ValueError("two frames are packed into one packet")
    return data[at + 4] >> 6


def _by_counts(packets: Iterator[bytes], codec: str, extradata: bytes) -> NDArray[np.int64]:
    """Pictures of one sequence are shown by their counts, and sequences one after the other."""
    counter: _H264 | _Hevc = _H264() if codec == "h264" else _Hevc()
    split = _splitter(extradata, codec)
    for unit in _parameter_sets(extradata, codec):
        counter.learn(unit)
    keys = []
    for data in packets:
        for unit in split(data):
            if counter.is_picture(unit[0]):
                keys.append(counter.place(unit))
                break
            counter.learn(unit)
        else:
            raise ValueError("a packet holds no picture")
    if len(set(keys)) < len(keys):
        raise ValueError("pictures share a count")
    order = np.empty(len(keys), np.int64)
    order[sorted(range(len(keys)), key=keys.__getitem__)] = np.arange(len(keys))
    return order


def _splitter(extradata: bytes, codec: str) -> Callable[[bytes], Iterator[bytes]]:
    """How packets are split into units: by lengths, as in MP4, or by start codes."""
    if not extradata or extradata[0] != 1:
        return _by_start_codes
    size = (extradata[4 if codec == "h264" else 21] & 3) + 1

    def by_lengths(data: bytes) -> Iterator[bytes]:
        at = 0
        while at + size < len(data):
            length = int.from_bytes(data[at : at + size], "big")
            yield data[at + size : at + size + min(length, _HEAD)]
            at += size + length

    return by_lengths


def _by_start_codes(data: bytes) -> Iterator[bytes]:
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        yield data[at + 3 : at + 3 + _HEAD]
        at = data.find(b"\x00\x00\x01", at + 3)


def _parameter_sets(extradata: bytes, codec: str) -> Iterator[bytes]:
    """The units in a codec's configuration record."""
    if not extradata or extradata[0] != 1:
        yield from _by_start_codes(extradata)
        return
    if codec == "h264":
        at, n_kinds = 5, 2
    else:
        at, n_kinds = 23, extradata[22]
    for kind in range(n_kinds):
        if codec == "h264":
            n_units = extradata[at] & (31 if kind == 0 else 255)
            at += 1
        else:
            n_units = int.from_bytes(extradata[at + 1 : at + 3], "big")
            at += 3
        for _ in range(n_units):
            length = int.from_bytes(extradata[at : at + 2], "big")
            yield extradata[at + 2 : at + 2 + length]
            at += 2 + length


class _Bits:
    """Bits of a unit, without the bytes that keep start codes out of it."""

    def __init__(self, unit: bytes, skip: int) -> None:
        data = unit[skip:_HEAD].replace(b"\x00\x00\x03", b"\x00\x00")
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def take(self, n: int) -> int:
        self._left -= n
        if self._left < 0:
            raise ValueError("the header ends early")
        return (self._value >> self._left) & ((1 << n) - 1)

    def exp(self) -> int:
        """A number in the Exponential-Golomb code."""
        n = 0
        while not self.take(1):
            n += 1
        return (1 << n) - 1 + self.take(n)


@dataclass(slots=True)
class _Counts:
    """Counts that are coded by their lower bits, as `H.264 8.2.1.1` and `HEVC 8.3.1` have it."""

    sequence: int = 0
    high: int = 0
    low: int = 0

    def restart(self) -> None:
        self.sequence += 1
        self.high = self.low = 0

    def full(self, low: int, n_bits: int) -> int:
        """The upper part of a count whose lower bits are `low`."""
        whole = 1 << n_bits
        if low < self.low and self.low - low >= whole // 2:
            return self.high + whole
        if low > self.low and low - self.low > whole // 2:
            return self.high - whole
        return self.high


class _H264:
    def __init__(self) -> None:
        self._sets: dict[int, tuple[int, int, int, bool, bool]] = {}
        self._set_of: dict[int, int] = {}
        self._counts = _Counts()
        self._n = 0

    @staticmethod
    def is_picture(head: int) -> bool:
        return head & 31 in (1, 5)

    def learn(self, unit: bytes) -> None:
        kind = unit[0] & 31 if unit else 0
        if kind == 8:
            bits = _Bits(unit, 1)
            self._set_of[bits.exp()] = bits.exp()
        elif kind == 7:
            self._learn_sequence(_Bits(unit, 1))

    def _learn_sequence(self, bits: _Bits) -> None:
        profile = bits.take(8)
        bits.take(16)
        number, chroma, planes = bits.exp(), 1, False
        if profile in (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135):
            chroma = bits.exp()
            planes = chroma == 3 and bool(bits.take(1))
            bits.exp(), bits.exp(), bits.take(1)
            if bits.take(1):
                raise ValueError("scaling matrices are not read")
        frame_bits, way = bits.exp() + 4, bits.exp()
        if way == 1:
            raise ValueError("counts by cycles are not read")
        count_bits = bits.exp() + 4 if way == 0 else 0
        bits.exp(), bits.take(1), bits.exp(), bits.exp()
        self._sets[number] = (frame_bits, way, count_bits, bool(bits.take(1)), planes)

    def place(self, unit: bytes) -> tuple[int, int]:
        bits = _Bits(unit, 1)
        is_first = unit[0] & 31 == 5
        bits.exp(), bits.exp()
        frame_bits, way, count_bits, frames_only, planes = self._sets[self._set_of[bits.exp()]]
        self._n += 1
        if way == 2:  # shown as they are decoded
            return 0, self._n
        bits.take(frame_bits + (2 if planes else 0))
        if not frames_only and bits.take(1):
            bits.take(1)
        counts = self._counts
        if is_first:
            bits.exp()
            counts.restart()
        low = bits.take(count_bits)
        high = counts.full(low, count_bits)
        if unit[0] & 0x60:  # others refer to it
            counts.high, counts.low = high, low
        return counts.sequence, high + low


class _Hevc:
    def __init__(self) -> None:
        self._count_bits: dict[int, tuple[int, bool]] = {}
        self._set_of: dict[int, tuple[int, bool, int]] = {}
        self._counts = _Counts()

    @staticmethod
    def is_picture(head: int) -> bool:
        return head >> 1 & 63 < 32

    def learn(self, unit: bytes) -> None:
        kind = unit[0] >> 1 & 63 if unit else 0
        if kind == 34:
            bits = _Bits(unit, 2)
            number, of = bits.exp(), bits.exp()
            bits.take(1)
            self._set_of[number] = (of, bool(bits.take(1)), bits.take(3))
        elif kind == 33:
            bits = _Bits(unit, 2)
            bits.take(4)
            n_layers = bits.take(3)
            bits.take(1 + 96)
            if n_layers:
                raise ValueError("temporal layers are not read")
            number = bits.exp()
            planes = bits.exp() == 3 and bool(bits.take(1))
            bits.exp(), bits.exp()
            if bits.take(1):
                for _ in range(4):
                    bits.exp()
            bits.exp(), bits.exp()
            self._count_bits[number] = (bits.exp() + 4, planes)

    def place(self, unit: bytes) -> tuple[int, int]:
        kind, layer = unit[0] >> 1 & 63, unit[1] & 7
        bits = _Bits(unit, 2)
        bits.take(1)
        if 16 <= kind <= 23:
            bits.take(1)
        of, says_output, n_extra = self._set_of[bits.exp()]
        count_bits, planes = self._count_bits[of]
        bits.take(n_extra)
        bits.exp()
        bits.take(int(says_output) + (2 if planes else 0))
        counts = self._counts
        if 16 <= kind <= 20:
            counts.restart()
        low = 0 if kind in (19, 20) else bits.take(count_bits)
        high = 0 if 16 <= kind <= 20 else counts.full(low, count_bits)
        if layer == 1 and not (kind < 16 and (kind % 2 == 0 or 6 <= kind <= 9)):
            counts.high, counts.low = high, low
        return counts.sequence, high + low
