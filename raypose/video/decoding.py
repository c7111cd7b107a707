"""Decoded frames of a video, from any frame on, each with its number and its status.

`iter_frames` yields FFmpeg's own frames (YUV, as coded), numbered as `index` does; decoding begins
at the keyframe before the first one. A video is decoded fast: on all cores (or on a GPU), stopping
at the first sign of damage. From there it is decoded with care: one packet at a time, so that
FFmpeg conceals what is broken, says which frames that concerns, and loses none beside them. Only
so does the result not depend on timing. At the next keyframe the fast way goes on. Statuses are
settled by `damage`; what lies before the first frame that is asked for, back to its keyframe,
counts as well.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raypose.video.container import decode
from raypose.video.damage import DamageTracker
from raypose.video.frames import FrameStatus
from raypose.video.index import VideoIndex
from raypose.video.packets import end_packet, filler_packet, open_at

Frame = tuple[int, Any | None, FrameStatus]
"""Number, picture (None where there is none) and status."""

# H.264 and HEVC reorder 16 frames at most.
_MOST_REORDERED = 16
_MOST_AT_ONCE = 12
_MOST_HELD = 64
# Decoders that lose sight of damage when they work on several packets, or parts of one, at once.
_ALONE = {
    "mpeg4", "mpeg1video", "mpeg2video", "h263", "flv1", "wmv1", "wmv2", "wmv3", "vc1",
    "msmpeg4v1", "msmpeg4v2", "msmpeg4v3",
}  # fmt: skip
# Decoders that conceal broken data without a word, unless an error is to stop them.
_SILENT = {"mjpeg"}
# AV_PICTURE_TYPE_NONE, which some decoders leave it at, and _I.
_KEY_PICTURES = (0, 1)
# Before all times.
_HIDDEN = -(1 << 63)


@dataclass(frozen=True, slots=True)
class _Way:
    """How to decode."""

    careful: bool = False  # one packet at a time
    alert: bool = True  # any error, concealed or not, is a sign of damage
    back: int = 0  # how many keyframes before the nearest one to begin
    until: int = 0  # care is taken at least as far as this frame
    found: bool = False  # care has found damage since the fast way stopped
    span: int = 1  # with care, for how many keyframes; where frames build on others, always one


def iter_frames(
    index: VideoIndex,
    start: int = 0,
    stop: int | None = None,
    *,
    threads: int = 1,
    hwaccel: Any = None,
) -> Generator[Frame, None, None]:
    """Decoded frames (`av.VideoFrame`, as coded) with their numbers, each number once, in order.

    Args:
        index: the video.
        start: first frame.
        stop: frame after the last; None for the end.
        threads: of the decoder.
        hwaccel: PyAV's settings of hardware; None for the CPU, which decodes what is damaged.

    Raises:
        VideoError: the file can't be opened.
        ValueError: the range lies outside the video.
    """
    start, stop = check_range(index, start, stop)
    n, way = start, _Way()
    while n < stop:
        part = _Part(index, n, stop, way, threads, hwaccel)
        yield from part.frames()
        n, way = part.n, part.next_way()


def check_range(index: VideoIndex, start: int, stop: int | None) -> tuple[int, int]:
    """The range, whose end may be None for that of the video; a ValueError outside of it."""
    stop = index.n_frames if stop is None else stop
    if not 0 <= start <= stop <= index.n_frames:
        raise ValueError(f"frames {start} to {stop} of a video of {index.n_frames} frames")
    return start, stop


class _Times:
    """Packets and frames told apart by the time at which they are shown.

    `slack`, `lag` and the ids of packets are those of `damage.DamageTracker`.
    """

    slack = lag = 0

    def __init__(self, index: VideoIndex, first: int) -> None:
        self.last_leading = -1  # the last packet that belongs to a frame before the first one
        self._pts = index.pts
        self._first_pts = int(index.pts[first]) if first > 0 else None
        self._numbers: dict[int, int | None] = {}
        self._expected = first
        self._n_fed = self._n_out = 0

    def feed(self, packet: Any) -> int | None:
        """Note a packet; its id, unless it belongs to a frame before the first one."""
        self._n_fed += 1
        time: int | None = packet.pts
        if time is None:
            return None
        if self._first_pts is not None and time < self._first_pts:
            self.last_leading = self._n_fed - 1
            return None
        if packet.is_discard:
            return _HIDDEN + self._n_fed  # it may have the time of one that is shown
        number = self._expected  # right for most; a search takes longer
        if number >= len(self._pts) or self._pts[number] != time:
            number = int(self._pts.searchsorted(time))
        shown = number < len(self._pts) and bool(self._pts[number] == time)
        self._expected = number + 1
        self._numbers[time] = number if shown else None
        return time

    def number_of(self, id: int) -> int | None:
        """The number of a packet's frame, where it is known before the frame comes out."""
        return self._numbers.get(id)

    def came(self, frame: Any) -> tuple[int | None, int | None]:
        """The id of the packet that a frame was in, and the frame's number."""
        return frame.pts, self._numbers.pop(frame.pts, None)


class _Output(_Times):
    """Frames numbered as they come out, where it is not known which packets they were in."""

    lag = _MOST_REORDERED  # each waits for as many others

    def feed(self, packet: Any) -> int | None:
        return None

    def came(self, frame: Any) -> tuple[int | None, int | None]:
        self._n_out += 1
        return self._n_out - 1, self._n_out - 1


class _Order(_Times):
    """Packets counted as they are fed, frames numbered as they come out.

    Not for decoders with threads: what accompanies a packet is freed under Python's lock, and a
    thread that frees it would wait for a caller who waits for that thread.
    """

    slack = _MOST_REORDERED

    def feed(self, packet: Any) -> int | None:
        packet.opaque = self._n_fed
        self._n_fed += 1
        return self._n_fed - 1

    def came(self, frame: Any) -> tuple[int | None, int | None]:
        self._n_out += 1
        # Some decoders do not hand on what they are given with a packet.
        id = self._n_fed - 1 if frame.opaque is None else int(frame.opaque)
        return id, self._n_out - 1


class _Part:
    """Frames from `n` on, decoded in one way: to the end, or to where another way must go on."""

    def __init__(
        self, index: VideoIndex, n: int, stop: int, way: _Way, threads: int, hwaccel: Any
    ) -> None:
        self.n = n
        self._index, self._stop, self._way = index, stop, way
        self._threads = 1 if way.careful else threads
        self._hwaccel = None if way.careful else hwaccel
        nearest = int(np.searchsorted(index.keyframes, n, side="right")) - 1
        # What these take for an error depends on what the frames before were like.
        warm_up = 1 if index.codec in _ALONE | _SILENT else 0
        self._k = max(0, nearest - way.back - warm_up)
        self._first = int(index.keyframes[self._k])
        self._end = index.n_frames
        end = nearest + way.span
        if way.careful and end < len(index.keyframes):
            # From there on, frames are decoded as if nothing had been before.
            self._end = int(index.keyframes[end])
        self._last_fed = self._first
        self._n_fed = 0
        self._intra_only = False
        self._held: dict[int, Any] = {}
        self._next: _Way | None = None
        kind = _Times if index.seekable else _Order if way.careful else _Output
        self._ids = kind(index, self._first)
        # Beside damage, frames may come out later than others that are shown after them.
        lag = _MOST_REORDERED if way.careful else self._ids.lag
        self._tracker = DamageTracker(self._first, slack=self._ids.slack, lag=lag)

    def next_way(self) -> _Way:
        """How to go on from `n`."""
        if self._next is not None or not self._way.careful:
            return self._next or self._way
        found = self._way.found or self._tracker.found
        span = 2 * self._way.span if self._intra_only else 1
        if self.n <= self._way.until:
            return replace(self._way, back=0, found=found, span=span)
        # Where care has found nothing, errors say nothing either.
        return _Way(alert=self._way.alert and found, span=span)

    def frames(self) -> Iterator[Frame]:
        with open_at(self._index, self._k, self._hwaccel) as (stream, packets):
            self._set_up(stream)
            for position, packet in enumerate(self._needed(packets, stream)):
                id = self._feed(packet)
                frames = decode(packet)
                if self._is_sign(frames, position, packet):
                    self._go_on_with_care()
                    return
                if frames is None and self._way.careful and id is not None:
                    self._tracker.refused(id)
                for frame in frames or ():
                    self._take_in(frame)
                if not packet.size:
                    self._tracker.ended()
                yield from self._hand_out()
                if self.n >= min(self._stop, self._end) or self._next is not None:
                    return
        # What is left has no packet.
        if self._k > 0 and self._tracker.last_clean < self._first:
            self._go_further_back()
        elif not self._way.careful:
            self._go_on_with_care()
        else:
            for missing in range(self.n, min(self._stop, self._end)):
                self.n = missing + 1
                yield missing, None, FrameStatus.MISSING

    def _set_up(self, stream: Any) -> None:
        way, context, codec = self._way, stream.codec_context, self._index.codec
        options = {}
        silent = self._index.seekable and codec in _SILENT
        if silent if way.careful else way.alert:
            options["err_detect"] = "explode"
        if codec == "h264" and self._threads > 1:
            # A thread returns pictures that others have decoded, with the damage that is known by
            # then: so each waits for as many packets as are decoded at once.
            self._threads = min(self._threads, _MOST_AT_ONCE)
            delay = self._threads - 1 + max(4, getattr(context, "reorder_depth", 4))
            options["has_b_frames"] = str(min(delay, _MOST_REORDERED - 1))
        elif codec in _ALONE:
            self._threads = 1
        context.options = options
        stream.thread_type = "NONE" if way.careful else "AUTO"
        stream.thread_count = self._threads
        self._intra_only = bool(context.codec.intra_only)
        if isinstance(self._ids, _Order):
            context.copy_opaque = True

    def _needed(self, packets: Iterator[Any], stream: Any) -> Iterator[Any]:
        """Packets up to the end, and an empty one, which makes the decoder return the rest.

        A decoder that is given what comes after the end may lose frames if that is damaged.
        """
        for packet in packets:
            if self._way.careful and self._n_fed == self._end - self._first:
                yield end_packet(stream)
                return
            if packet.size:
                yield packet
            elif packet.pts is None:  # else the picture before it is shown for longer
                yield from self._empty_packets(stream)
                yield packet

    def _empty_packets(self, stream: Any) -> Iterator[Any]:
        """Packets that hold no picture, so that all threads are done with theirs before the end.

        At the end the decoder returns all pictures at once, with what is known of them by then.
        """
        if self._index.codec != "h264" or self._threads == 1:
            return
        context = stream.codec_context
        context.skip_frame = "NONREF"  # which makes the decoder content without a picture
        for _ in range(self._threads - 1):
            yield filler_packet(stream)
        context.skip_frame = "DEFAULT"

    def _feed(self, packet: Any) -> int | None:
        """Note a packet; its id, if what it holds is wanted."""
        id = self._ids.feed(packet) if packet.size else None
        if id is not None:
            number = self._ids.number_of(id)
            self._tracker.fed(id, number, corrupt=packet.is_corrupt)
            self._last_fed = max(self._last_fed, number or 0)
            self._n_fed += number is not None and number < self._end
        return id

    def _is_sign(self, frames: list[Any] | None, position: int, packet: Any) -> bool:
        """Whether frames to come are damaged, as far as a packet tells.

        After a seek, leading frames lack what they build on; decoders that work on several
        packets at a time report an error that many packets later. At the end, all frames that
        were to come are lost with an error.
        """
        if self._way.careful:
            return False
        if frames is not None:
            # Frames that are waiting may have been decoded after one that is corrupt.
            corrupt = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
            return corrupt and isinstance(self._ids, _Output)
        of_leading = position - (self._threads - 1) <= self._ids.last_leading >= 0
        return not (packet.size and of_leading)

    def _take_in(self, frame: Any) -> None:
        id, number = self._ids.came(frame)
        if id is None or number is None:
            return
        if isinstance(self._ids, _Output):
            self._tracker.fed(id, number, corrupt=False)
        key = self._intra_only or frame.key_frame or self._is_keyframe(number, frame)
        if self._tracker.came(id, number, corrupt=frame.is_corrupt, key=bool(key)):
            self._held[number] = frame

    def _is_keyframe(self, number: int, frame: Any) -> bool:
        """Whether the container says so, of a picture that can be one.

        It also calls those keyframes from which on a picture is refreshed bit by bit.
        """
        if int(frame.pict_type) not in _KEY_PICTURES:
            return False
        keyframes = self._index.keyframes
        k = int(np.searchsorted(keyframes, number))
        return k < len(keyframes) and int(keyframes[k]) == number

    def _hand_out(self) -> Iterator[Frame]:
        tracker = self._tracker
        for number, status in tracker.take(at_once=len(self._held) > _MOST_HELD):
            frame = self._held.pop(number, None)
            builds = self._k > 0 and not self._intra_only
            if builds and number == self._first and tracker.last_clean != number:
                self._go_further_back()
                return
            if status is not FrameStatus.OK and not self._way.careful:
                self._go_on_with_care()
                return
            if number < self.n:
                continue
            if number >= min(self._stop, self._end):
                return
            self.n = number + 1
            yield number, None if status is FrameStatus.MISSING else frame, status

    def _go_further_back(self) -> None:
        """Begin earlier: what seemed to be a keyframe is none, is damaged, or was not found."""
        self._next = replace(self._way, back=2 * self._way.back + 1)

    def _go_on_with_care(self) -> None:
        self._next = replace(self._way, careful=True, until=self._last_fed, found=False)
