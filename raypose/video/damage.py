"""From what a decoder says of packets and frames to the status of every frame.

Damage spreads in the order of decoding: a frame may build on any that was decoded before it, back
to the last keyframe. So a frame's status is settled when all that was decoded before it is
settled. Frames come out in the order of presentation: some wait for their status, as many as the
codec reorders. A keyframe ends the damage for the frames that are shown after it. Those that are
decoded after it but shown before it (leading frames of an open group of pictures) may still build
on what came before. No video is read here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from raypose.video.frames import FrameStatus


@dataclass(slots=True)
class _Packet:
    """A packet, and what became of it."""

    id: int | None  # None of one that should have been fed, and was not
    number: int | None  # of its frame, where it is known
    corrupt: bool  # the container or the decoder says that it is damaged
    came: bool = False  # its frame came out
    clean: bool = False  # decoding is clean from its frame on
    late: bool = False  # frames that are shown after it came out before it


class DamageTracker:
    """Settles the statuses of frames, in the order of their numbers, from `first` on.

    Ids of packets ascend with the order in which their frames come out, up to `slack` (0 where ids
    are times): where an id that is more than `slack` higher has come out, a packet's own frame
    will not. Each packet waits for `lag` others before it is settled.
    """

    def __init__(self, first: int, *, slack: int = 0, lag: int = 0) -> None:
        self.found = False  # any damage so far
        self.last_clean = -1  # the last keyframe from which decoding is clean
        self._next, self._slack, self._lag = first, slack, lag
        self._last_out: int | None = None
        self._last_number = first - 1
        self._waiting: deque[_Packet] = deque()
        self._packets: dict[int, _Packet] = {}
        self._settled: dict[int, FrameStatus] = {}
        self._begun = self._ended = False
        # Whether what is shown after the last clean keyframe builds on damage, and before it.
        self._damaged = self._damaged_before = False

    def fed(self, id: int, number: int | None, *, corrupt: bool) -> None:
        """A packet goes into the decoder; `number` is None where its frame's is not known yet."""
        self._packets[id] = packet = _Packet(id, number, corrupt)
        self._waiting.append(packet)

    def refused(self, id: int) -> None:
        """The decoder reported an error on a packet."""
        if id in self._packets:
            self._packets[id].corrupt = True

    def came(self, id: int, number: int, *, corrupt: bool, key: bool) -> bool:
        """The frame of a packet came out, as the decoder describes it.

        Returns whether it is still wanted: not where its number is settled already.
        """
        packet = self._packets.get(id)
        if packet is None or packet.came:
            return False
        packet.came, packet.number, packet.late = True, number, number < self._last_number
        packet.corrupt |= corrupt
        packet.clean = key and not packet.corrupt
        for skipped in range(self._last_number + 1, number):
            # No packet was fed of it; one that was fed is settled in its turn.
            if skipped not in self._settled and all(p.number != skipped for p in self._waiting):
                gap = _Packet(None, skipped, corrupt=True)
                self._waiting.insert(self._waiting.index(packet), gap)
        self._last_number = max(self._last_number, number)
        self._last_out = id if self._last_out is None else max(self._last_out, id)
        return True

    def ended(self) -> None:
        """No frame will come any more."""
        self._ended = True

    def take(self, *, at_once: bool = False) -> Iterator[tuple[int, FrameStatus]]:
        """Numbers and statuses that are settled by now, each number once, in order.

        With `at_once`, the first of the packets that are waited for is waited for no longer.
        """
        while self._waiting and (at_once or self._is_known(self._waiting[0])):
            at_once = False
            packet = self._waiting.popleft()
            if packet.id is not None:
                del self._packets[packet.id]
            self._settle(packet)
        while self._next in self._settled:
            number = self._next
            self._next += 1
            yield number, self._settled.pop(number)

    def _is_known(self, packet: _Packet) -> bool:
        if self._ended:
            return True
        if len(self._waiting) <= self._lag:
            return False
        if packet.came or packet.id is None:
            return True
        return self._last_out is not None and packet.id < self._last_out - self._slack

    def _settle(self, packet: _Packet) -> None:
        number = packet.number
        if packet.clean and number is not None:
            self._begun = True
            self._damaged_before, self._damaged = self._damaged, False
            self.last_clean = number
            self._settled[number] = FrameStatus.OK
            return
        if number is None and not packet.corrupt:
            self._begun = True  # it shows nothing: others build on it, or it is none at all
            return
        if number is not None and not self._begun:
            # The video begins within a group of pictures: what these build on is not in it.
            self._begun = self._damaged = True
        # One that is late is no leading frame, whatever its time says: others may build on it.
        leads = number is not None and number < self.last_clean and not packet.late
        builds_on_damage = self._damaged_before if leads else self._damaged
        if packet.came and not packet.corrupt:
            status = FrameStatus.SUSPECT if builds_on_damage else FrameStatus.OK
        else:
            status = FrameStatus.CORRUPT if packet.came else FrameStatus.MISSING
            self._damaged_before = True
            self._damaged |= not leads
        self.found |= status is not FrameStatus.OK
        if number is not None:
            self._settled[number] = status
