"""How the frames of a decoder are told apart: by their times, or by the order in which they come.

`decoding` asks here for the id of each packet that it feeds, and for the number of each frame that
comes out. Ids ascend in the order in which frames are shown, up to `slack`; `lag` is how many
others a frame waits for until its status is settled (see `damage`).
"""

from __future__ import annotations

from typing import Any

from raypose.video.index import VideoIndex

# H.264 and HEVC reorder 16 frames at most.
MOST_REORDERED = 16
# Before all times.
_HIDDEN = -(1 << 63)


class Ids:
    """Ids of packets and frames.

    Attributes:
        last_leading: number of the last packet that belongs to a frame before the first one.
    """

    slack = 0
    lag = 0
    last_leading = -1

    def set_up(self, context: Any) -> None:
        """Tell the decoder what its frames must carry."""

    def feed(self, packet: Any) -> int | None:
        """Note a packet; its id, unless it belongs to a frame before the first one."""
        return None

    def number_of(self, id: int) -> int | None:
        """The number of a packet's frame, where it is known before the frame comes out."""
        return None

    def of_frame(self, frame: Any) -> int | None:
        """The id of the packet that a frame was in."""
        raise NotImplementedError

    def number_of_frame(self, id: int) -> int | None:
        """The number of a frame that has just come out."""
        raise NotImplementedError


class Times(Ids):
    """Packets and frames by the time at which they are shown."""

    def __init__(self, index: VideoIndex, first: int) -> None:
        self._pts = index.pts
        self._first_pts = int(index.pts[first]) if first > 0 else None
        self._numbers: dict[int, int | None] = {}
        self._expected = first
        self._n_fed = -1

    def feed(self, packet: Any) -> int | None:
        self._n_fed += 1
        time: int | None = packet.pts
        if time is None:
            return None
        if self._first_pts is not None and time < self._first_pts:
            self.last_leading = self._n_fed
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
        return self._numbers.get(id)

    def of_frame(self, frame: Any) -> int | None:
        time: int | None = frame.pts
        return time

    def number_of_frame(self, id: int) -> int | None:
        return self._numbers.pop(id, None)


class Output(Ids):
    """Frames numbered as they come out, where it is not known which packets they were in.

    So each waits for as many others as a codec may reorder.
    """

    lag = MOST_REORDERED

    def __init__(self) -> None:
        self._n_out = 0

    def of_frame(self, frame: Any) -> int | None:
        return self._n_out

    def number_of_frame(self, id: int) -> int | None:
        self._n_out += 1
        return id


class Order(Ids):
    """Packets counted as they are fed, frames numbered as they come out.

    Not for decoders with threads: what accompanies a packet is freed under Python's lock, and a
    thread that frees it would wait for a caller who waits for that thread.
    """

    slack = MOST_REORDERED

    def __init__(self) -> None:
        self._n_fed = self._n_out = 0

    def set_up(self, context: Any) -> None:
        context.copy_opaque = True

    def feed(self, packet: Any) -> int | None:
        packet.opaque = self._n_fed
        self._n_fed += 1
        return self._n_fed - 1

    def of_frame(self, frame: Any) -> int | None:
        # Some decoders do not hand on what they are given with a packet.
        return self._n_fed - 1 if frame.opaque is None else int(frame.opaque)

    def number_of_frame(self, id: int) -> int | None:
        self._n_out += 1
        return self._n_out - 1
