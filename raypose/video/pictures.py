"""The order in which a codec shows its frames, read from the headers of its pictures.

`numbering` asks for it where the times of a container leave doubt. Only headers are read: the
picture order counts of H.264 and HEVC, and the kinds of pictures of MPEG-1, 2 and 4. Nothing is
decoded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
        with contextlib.suppress(IndexError, KeyError, ValueError):
            if codec in ("h264", "hevc"):
                return _by_counts(packets, codec, stream.codec_context.extradata or b"")
            if codec in _B_KIND:
                return _by_kinds(packets, codec)
    return None


def _by_kinds(packets: Iterator[bytes], codec: str) -> NDArray[np.int64]:
    """A B-frame is shown at once, any other frame after the next one that is no B-frame."""
    shown: list[int] = []
    held: list[int] = []
    for n, data in enumerate(packets):
        if _kind(data, codec) == _B_KIND[codec]:
            shown.append(n)
        else:
            shown += held
            held = [n]
    return np.argsort(shown + held)


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
    has_lengths = extradata[:1] == b"\x01"  # as in MP4; else each unit has a start code
    sets = _parameter_sets(extradata, codec) if has_lengths else _by_start_codes(extradata)
    for unit in sets:
        counter.learn(unit)
    size = (extradata[4 if codec == "h264" else 21] & 3) + 1 if has_lengths else 0
    keys = []
    for data in packets:
        for unit in _by_lengths(data, size) if has_lengths else _by_start_codes(data):
            if unit[0] & 31 in (1, 5) if codec == "h264" else unit[0] >> 1 & 63 < 32:  # a picture
                keys.append(counter.place(unit))
                break
            counter.learn(unit)
        else:
            raise ValueError("a packet holds no picture")
    if len(set(keys)) < len(keys):
        raise ValueError("pictures share a count")
    return np.argsort(sorted(range(len(keys)), key=keys.__getitem__))


def _by_start_codes(data: bytes) -> Iterator[bytes]:
    at = data.find(b"\x00\x00\x01")
    while at >= 0:
        yield data[at + 3 : at + 3 + _HEAD]
        at = data.find(b"\x00\x00\x01", at + 3)


def _by_lengths(data: bytes, size: int) -> Iterator[bytes]:
    at = 0
    while at + size < len(data):
        length = int.from_bytes(data[at : at + size], "big")
        yield data[at + size : at + size + min(length, _HEAD)]
        at += size + length


def _parameter_sets(record: bytes, codec: str) -> Iterator[bytes]:
    """The units in a codec's configuration record, as MP4 has it."""
    is_h264 = codec == "h264"
    at, n_kinds = (5, 2) if is_h264 else (23, record[22])
    for kind in range(n_kinds):
        if is_h264:
            n_units = record[at] & (31 if kind == 0 else 255)
            at += 1
        else:
            n_units = int.from_bytes(record[at + 1 : at + 3], "big")
            at += 3
        for _ in range(n_units):
            length = int.from_bytes(record[at : at + 2], "big")
            yield record[at + 2 : at + 2 + length]
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


class _Counts:
    """Counts that are coded by their lower bits, as `H.264 8.2.1.1` and `HEVC 8.3.1` have it."""

    def __init__(self) -> None:
        # What parameter sets say of sequences, and of pictures, by their numbers.
        self._sequences: dict[int, tuple[int, ...]] = {}
        self._pictures: dict[int, tuple[int, ...]] = {}
        self._sequence = self._high = self._low = self._n = 0

    def _restart(self) -> None:
        self._sequence += 1
        self._high = self._low = 0

    def _full(self, low: int, n_bits: int) -> int:
        """The upper part of a count whose lower bits are `low`."""
        whole = 1 << n_bits
        if low < self._low and self._low - low >= whole // 2:
            return self._high + whole
        if low > self._low and low - self._low > whole // 2:
            return self._high - whole
        return self._high


class _H264(_Counts):
    def learn(self, unit: bytes) -> None:
        kind = unit[0] & 31 if unit else 0
        if kind == 8:
            bits = _Bits(unit, 1)
            number = bits.exp()  # first: on the right of an assignment it would be read second
            self._pictures[number] = (bits.exp(),)
        if kind != 7:
            return
        bits = _Bits(unit, 1)
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
        self._sequences[number] = (frame_bits, way, count_bits, bits.take(1), planes)

    def place(self, unit: bytes) -> tuple[int, int]:
        bits = _Bits(unit, 1)
        is_first = unit[0] & 31 == 5
        bits.exp(), bits.exp()
        (of,) = self._pictures[bits.exp()]
        frame_bits, way, count_bits, frames_only, planes = self._sequences[of]
        self._n += 1
        if way == 2:  # shown as they are decoded
            return 0, self._n
        bits.take(frame_bits + (2 if planes else 0))
        if not frames_only and bits.take(1):
            bits.take(1)
        if is_first:
            bits.exp()
            self._restart()
        low = bits.take(count_bits)
        high = self._full(low, count_bits)
        if unit[0] & 0x60:  # others refer to it
            self._high, self._low = high, low
        return self._sequence, high + low


class _Hevc(_Counts):
    def learn(self, unit: bytes) -> None:
        kind = unit[0] >> 1 & 63 if unit else 0
        if kind == 34:
            bits = _Bits(unit, 2)
            number, of = bits.exp(), bits.exp()
            bits.take(1)
            self._pictures[number] = (of, bits.take(1), bits.take(3))
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
            self._sequences[number] = (bits.exp() + 4, planes)

    def place(self, unit: bytes) -> tuple[int, int]:
        kind, layer = unit[0] >> 1 & 63, unit[1] & 7
        bits = _Bits(unit, 2)
        bits.take(1)
        if 16 <= kind <= 23:
            bits.take(1)
        of, says_output, n_extra = self._pictures[bits.exp()]
        count_bits, planes = self._sequences[of]
        bits.take(n_extra)
        bits.exp()
        bits.take(says_output + (2 if planes else 0))
        if 16 <= kind <= 20:
            self._restart()
        low = 0 if kind in (19, 20) else bits.take(count_bits)
        high = 0 if 16 <= kind <= 20 else self._full(low, count_bits)
        if layer == 1 and not (kind < 16 and (kind % 2 == 0 or 6 <= kind <= 9)):
            self._high, self._low = high, low
        return self._sequence, high + low
